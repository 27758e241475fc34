"""What a person reads: plain lines in a log, a live table in a terminal, the verdict; and no text takes control."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from claas.eval.reporters.console import PlainReporter, console_reporter
from claas.eval.reporters.headlines import asked_for
from claas.eval.reporters.live import LiveReporter
from claas.eval.reporters.verdict_table import verdict_report
from claas.eval.run.reporter import Reporter
from claas.results.keys import keys_of_schema_1
from claas.results.numbers import duration
from claas.results.progress import printable
from claas.results.records import Counts, History
from claas.results.settings import EvalConfig, ProtocolConfig
from claas.results.summary import RunResults, build_summary
from tests.results.synthetic_runs import Collapsing, World, make_history


class Few(World):
    """A good run on too few prompts."""

    heldouts = 12


def console(width: int = 100, **settings: object) -> Console:
    return Console(file=io.StringIO(), width=width, **settings)


def text(of: Console) -> str:
    file = of.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def play(reporter: Reporter, histories: dict[str, History], run_dir: Path, resumed_at: int = 0) -> None:
    config = EvalConfig(preferences=list(histories), num_steps=4).resolved()
    reporter.run_started(
        config, run_dir, dict.fromkeys(histories, keys_of_schema_1()), dict.fromkeys(histories, config.num_steps)
    )
    for name, history in histories.items():
        reporter.preference_started(name, resumed_at)
        assert history.baseline is not None
        reporter.baseline_measured(name, history.baseline)
        for step in history.steps[resumed_at:]:
            reporter.step_finished(name, step, 2.0)
        reporter.preference_ended(name, history.failure)
    summary = build_summary("r", config, histories)
    reporter.run_finished(
        RunResults(run_dir=run_dir, config=config, preferences=histories, summary=summary, new_steps=4)
    )


def test_a_log_has_one_line_per_event() -> None:
    log = console()
    play(PlainReporter(log, console()), {"concise": make_history(steps=4, done=2, failure="gone")}, Path("runs/a"))
    lines = [re.fullmatch(r"\d\d:\d\d:\d\d (.*\S)", line) for line in text(log).splitlines()]
    assert [line and line[1] for line in lines] == [
        "runs/a: 1 × 4 steps on claas-tiny, learning rate 0.0008, seed 42",
        "concise: baseline  held-out 0.05, probe 0.00, capability 0.90",
        "concise: step 1/4  margin Δ +8.2, held-out 0.45, probe 0.50, capability 0.90  2.0 s, 0:06 left",
        "concise: step 2/4  margin Δ +13.5, held-out 0.84, probe 1.00, capability 0.90  2.0 s, 0:04 left",
        "concise: FAILED: gone",
    ]


@pytest.mark.parametrize(
    ("changes", "names", "says"),
    [
        ({"controls": ["in_context", "neutral", "off_policy"]}, "ab", "2 × 4 steps, with neutral, off_policy beside"),
        ({"arm": "neutral"}, "a", "arm neutral, 1 × 4 steps"),
        (
            {"protocol": ProtocolConfig(kind="mixed"), "controls": ["placebo"]},
            "m",
            "mixed: m 4 steps, with placebo beside",
        ),
    ],
)
def test_the_headline_says_what_is_run_and_what_is_beside_it(changes: dict[str, Any], names: str, says: str) -> None:
    config = EvalConfig(num_steps=4, **changes).resolved()
    trained = [name for name in config.controls if name != "in_context"]
    planned = dict.fromkeys([*names, *(f"{name}.{arm}" for name in names for arm in trained)], 4)
    assert asked_for(config, planned).startswith(f"{says} on claas-tiny")


def test_alarms_stand_out_and_a_continued_preference_says_so() -> None:
    log = console(200)
    play(PlainReporter(log, console()), {"x": make_history(Collapsing(), "x", steps=4)}, Path("a"), resumed_at=2)
    assert "x: continues after step 2 of 4" in text(log)
    assert "COLLAPSE ALERT, CAPABILITY LOST" in text(log)


def lossy(history: History) -> History:
    """The same measurements, of which some were lost and some cut off at the token bound."""
    lost = {
        "heldout": Counts(planned=64, scored=61, errored=3, truncated=2),
        "sam\x1b[1mple": Counts(planned=4, scored=3, errored=1),
    }
    assert history.baseline is not None
    steps = tuple(step.model_copy(update={"counts": {**step.counts, **lost}}) for step in history.steps)
    return replace(history, steps=steps)


def test_what_was_lost_is_told_metric_by_metric(tmp_path: Path) -> None:
    log, screen, results = console(300), console(300, force_terminal=True), console(300)
    histories = {"concise": lossy(make_history(steps=4))}
    play(PlainReporter(log, results), histories, tmp_path)
    baseline, *steps = text(log).splitlines()[1:6]
    assert "lost" not in baseline
    assert all("answers lost: 3 of 64 of heldout, 1 of 4 of sam [1mple" in line for line in steps)
    play(LiveReporter(screen, console()), histories, tmp_path)
    assert "answers lost: 12 of 256 of heldout, 4 of 16 of sam [1mple" in text(screen)
    told = text(results)
    assert "answers lost: 12 of 256 of heldout, 4 of 16 of sam [1mple" in told
    assert "answers cut at the token bound: 8 of 244 of heldout" in told
    counts = [counts for record in histories["concise"].steps for counts in record.counts.values()]
    before = histories["concise"].baseline
    assert before is not None
    planned = sum(each.planned for each in [*counts, *before.counts.values()])
    assert f"measurements: {planned} planned, {planned - 16} scored" in told


@pytest.mark.parametrize("width", [80, 140])
def test_the_live_table_shows_every_preference_and_gives_the_terminal_back(width: int) -> None:
    screen, results = console(width, force_terminal=True), console(width)
    histories = {"concise": make_history(steps=4), "identity": make_history(Collapsing(), "identity", steps=4)}
    reporter = LiveReporter(screen, results)
    play(reporter, histories, Path("runs/a"))
    shown = text(screen)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "the cursor is hidden once and shown again"
    last = re.sub(r"\x1b\[[0-9;]*m", " ", shown[shown.rindex("preference") :])
    assert {"concise", "identity", "4/4", "held-out", "collapse", "alert,"} <= set(last.split())
    assert "identity: FAIL" in text(results)


def test_a_run_that_breaks_off_gives_the_terminal_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = console(force_terminal=True)

    def break_off() -> None:
        with console_reporter(screen, console()) as reporter:
            reporter.run_started(EvalConfig(num_steps=4).resolved(), Path("a"), {}, {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert text(screen).endswith("\x1b[?25h")


@pytest.mark.parametrize(
    ("terminal", "environment", "plain"),
    [
        (True, {"TERM": "xterm"}, False),
        (True, {"TERM": "dumb"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (False, {"TERM": "xterm"}, True),
    ],
)
def test_plain_lines_where_nothing_can_be_redrawn(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], plain: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with console_reporter(console(force_terminal=terminal), console()) as reporter:
        assert isinstance(reporter, PlainReporter if plain else LiveReporter)


def test_the_verdict_tells_everything_needed_to_judge_it(tmp_path: Path) -> None:
    histories = {"concise": make_history(Few(), steps=4), "identity": make_history(Collapsing(), "identity", steps=4)}
    (tmp_path / "summary.json").touch()
    page = console(120)
    page.print(
        verdict_report(build_summary("r", EvalConfig(preferences=list(histories), num_steps=4), histories), tmp_path)
    )
    shown = text(page)
    lines = [line.split() for line in shown.splitlines()]
    assert [
        "heldout_compliance",
        "1.000",
        "0.758",
        "to",
        "1.000",
        ">=",
        "0.8",
        "12",
        "──┼──────────●",
        "inconclusive",
    ] in lines
    assert "heldout_compliance: needs n ≥ 16" in shown
    assert "concise: INCONCLUSIVE (undecided: heldout_compliance)" in shown
    assert "inconclusive: the threshold lies inside the interval" in " ".join(shown.split())
    assert "capability items: 36 of 40 lost, none gained" in shown, "numbers of items say nothing"
    assert "verdict: FAIL" in shown
    assert "summary.json" in shown
    assert "report.html" not in shown


def test_text_from_outside_is_shown_and_never_obeyed() -> None:
    failure = "[bold red]boom[/] [link=https://x]\x1b[31m\x1b]0;title\x07 two\nlines"
    for terminal in (False, True):
        log, results = console(300, force_terminal=terminal), console(300)
        history = make_history(steps=4, done=1, failure=failure)
        reporter = LiveReporter(log, results) if terminal else PlainReporter(log, results)
        play(reporter, {"concise": history}, Path("a"))
        for shown in (text(log), text(results)):
            assert "[bold red]boom[/]" in shown
            assert "\x1b]0;" not in shown
            assert "\x07" not in shown


def test_durations_and_printable_text() -> None:
    assert [duration(seconds) for seconds in (0, 7.4, 750, 3723)] == ["0:00", "0:07", "12:30", "1:02:03"]
    assert printable("a\x1b[31m\tb\n\u202ec 🦊é") == "a [31m b  c 🦊é"
