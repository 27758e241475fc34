"""The live display: it fits every width, stays where it is, tells the numbers of the events, and lets others speak."""

import io
import os
import pty
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from claas.core.terminal import plain_table, results_console
from claas.eval.reporters.console import PlainReporter, console_reporter
from claas.eval.reporters.countdown import Countdown, Spent
from claas.eval.reporters.drawn import ASCII, Glyphs, bar, interval_drawn, sparkline
from claas.eval.reporters.live import LiveReporter
from claas.eval.reporters.verdict_table import verdict_report
from claas.results.keys import keys_of_schema_1
from claas.results.numbers import compact
from claas.results.records import History, Transcript
from claas.results.settings import EvalConfig, Prices, ProtocolConfig
from claas.results.summary import build_summary, estimated_cost
from tests.results.synthetic_runs import Collapsing, World, make_history

KEYS = keys_of_schema_1()
PRICES = Prices(sample=1000.0, prefill=400.0, train=1200.0)
HISTORIES = {
    "concise": make_history(steps=4),
    "identity": make_history(Collapsing(), "identity", steps=4),
    "no emoji of any kind anywhere at all": make_history(World(1), steps=4, done=2, failure="gone \x1b[31m" * 20),
}
REQUEST = Transcript(metric="m", item="0", prompt="p", temperature=0.0)
COUNTED = REQUEST.model_copy(update={"prompt_tokens": 3, "completion_tokens": 4})


class Watched:
    """A live reporter whose clock stands still, and whose frames are read and not printed."""

    def __init__(self, width: int, height: int = 40, title: str = "", **config: Any) -> None:
        self.now = 0.0
        self.screen = Console(width=width, height=height, file=io.StringIO(), color_system=None, _environ={})
        self.reporter = LiveReporter(self.screen, self.screen, title, clock=lambda: self.now)
        self.config = EvalConfig(preferences=list(HISTORIES), num_steps=4, **config).resolved()

    def lines(self) -> list[str]:
        with self.screen.capture() as shown:
            self.screen.print(self.reporter.display())
        return shown.get().splitlines()

    def start(self, histories: Mapping[str, History] = HISTORIES) -> None:
        self.reporter.run_started(
            self.config,
            Path("data/evals/20260101T000000Z"),
            dict.fromkeys(histories, KEYS),
            dict.fromkeys(histories, 4),
        )
        for name in histories:
            self.reporter.requests_planned(name, [10, 5, 5, 5, 5])

    def play(self, events: list[int], histories: Mapping[str, History] = HISTORIES) -> None:
        """The next event of the preference at each place, in this order: baseline, steps and end, with requests."""
        told = Counter[str]()
        names = list(histories)
        for place in events:
            name = names[place % len(names)]
            history, so_far = histories[name], told[name]
            told[name] += 1
            assert history.baseline is not None
            if so_far == 0:
                self.reporter.preference_started(name, 0)
            if so_far <= len(history.steps):
                for _ in range(10 if so_far == 0 else 5):
                    self.now += 0.5
                    self.reporter.request_ended(name, REQUEST)
            if so_far == 0:
                self.reporter.baseline_measured(name, history.baseline)
            elif so_far <= len(history.steps):
                self.reporter.step_finished(name, history.steps[so_far - 1], 2.5)
            elif so_far == len(history.steps) + 1:
                self.reporter.preference_ended(name, history.failure)


orders = st.lists(st.integers(0, 2), max_size=18)


@settings(max_examples=25, deadline=None)
@given(width=st.integers(60, 200), height=st.integers(12, 50), events=orders, doing=st.text(max_size=80))
def test_no_line_is_wider_than_the_terminal_and_no_frame_higher(
    width: int, height: int, events: list[int], doing: str
) -> None:
    watched = Watched(width, height, title="run 2 of 3: seed=2", prices=PRICES)
    watched.start()
    watched.reporter.doing(doing)
    heads = {line for line in watched.lines() if line.startswith("preference")}
    watched.play(events)
    lines = watched.lines()
    watched.reporter.close()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) < height
    assert heads == {line for line in lines if line.startswith("preference")}, "the columns stay where they are"
    for place, (name, history) in enumerate(HISTORIES.items()):
        row = next((each for each in lines if each.startswith(f"{name[:9]}") and "/4" in each), None)
        done = max(0, min(events.count(place) - 1, len(history.steps)))
        assert row is None or f" {done}/4 " in row


@settings(max_examples=20, deadline=None)
@given(events=orders)
def test_the_numbers_are_those_of_the_events(events: list[int]) -> None:
    watched = Watched(140, prices=PRICES)
    watched.start()
    watched.play(events)
    shown = "\n".join(watched.lines())
    watched.reporter.close()
    spent = Counter[str]()
    for place, (name, history) in enumerate(HISTORIES.items()):
        told = events.count(place)
        assert history.baseline is not None
        records = [history.baseline, *history.steps][:told]
        for record in records:
            spent.update(record.tokens)
        has_ended = told > len(history.steps) + 1
        row = next(line for line in watched.lines() if line.startswith(name[:20]))
        if records:
            value = records[-1].eval["heldout_compliance"]
            assert isinstance(value, float)
            assert f" {value:.2f} " in row
        assert f" {max(0, len(records) - 1)}/4 " in row
        assert ("failed" in row) == (has_ended and history.failure is not None)
    if total := sum(spent.values()):
        assert f"{compact(total)} tokens" in shown
        assert f"cost {estimated_cost(spent, PRICES):.2f}" in shown


def test_the_bar_is_of_requests_from_the_first_one_on_and_the_time_left_runs_down() -> None:
    watched = Watched(100)
    histories = {"concise": HISTORIES["concise"]}
    watched.start(histories)
    watched.reporter.doing("loading claas-tiny")
    assert watched.lines()[-2:] == ["─" * 60 + " 0 of 30 requests", "0:00 · loading claas-tiny"]
    watched.reporter.doing("")
    watched.reporter.preference_started("concise", 0)
    for _ in range(10):
        watched.now += 1
        watched.reporter.request_ended("concise", COUNTED)
    assert watched.lines()[-2:] == ["━" * 20 + "─" * 40 + " 10 of 30 requests", "0:10 · about 0:20 left · 70 tokens"]
    watched.now += 4
    assert "about 0:19 left" in watched.lines()[-1], "it runs down while nothing comes, and a little slower"
    watched.reporter.stopping()
    assert "stopping: what is under way is ended first" in watched.lines()[-1]


def test_a_resumed_run_starts_where_its_records_end() -> None:
    watched, history = Watched(120), HISTORIES["concise"]
    watched.start({"concise": history})
    watched.reporter.preference_started("concise", 2)
    watched.reporter.steps_found("concise", history.steps[:2])
    assert history.baseline is not None
    watched.reporter.baseline_measured("concise", history.baseline)
    row = next(line for line in watched.lines() if line.startswith("concise"))
    value = history.steps[1].eval["heldout_compliance"]
    assert f"{value:.2f}" in row
    assert " 2/4 " in row
    assert "running" in row
    assert any(line.endswith(" 20 of 30 requests") for line in watched.lines())
    tokens = sum(sum(record.tokens.values()) for record in (history.baseline, *history.steps[:2]))
    assert f"{compact(tokens)} tokens" in watched.lines()[-1]


def test_preferences_that_do_not_fit_are_counted_and_those_under_way_stay() -> None:
    histories = {f"p{place:02}": HISTORIES["concise"] for place in range(30)}
    watched = Watched(80, 20, protocol=ProtocolConfig(kind="isolated"))
    watched.start(histories)
    watched.play([25, 26, 26], histories)
    lines = watched.lines()
    assert len(lines) < 20
    assert any(line.startswith("p25 ") for line in lines)
    assert any(re.fullmatch(r"and \d+ waiting", line.strip()) for line in lines)


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_verdict_fits_every_width(width: int, encoding: str) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    page = Console(width=width, file=file, _environ={})
    histories = {name.split()[0]: replace(history, failure=None) for name, history in HISTORIES.items()}
    summary = build_summary("r", EvalConfig(preferences=list(histories), num_steps=4), histories)
    page.print(verdict_report(summary, Path("a"), dict.fromkeys(histories, KEYS)))
    file.seek(0)
    lines = file.read().splitlines()
    if encoding == "utf-8":
        assert max(map(cell_len, lines)) <= width
        row = next(line.split() for line in lines if line.split()[:1] == ["heldout_compliance"])
        assert row[-1] == "pass"
        assert ("0.047" in row) == (width >= 80), "what it was before"
    closing = [line.replace("|", " ").split() for line in lines[-24:]]
    assert ["concise", "pass"] in [line[:2] for line in closing], "one line for each preference"
    assert "next: the same command goes on where it ended" in lines
    assert lines[-1] == "      python -m claas.api results_dir=."


def test_curves_and_intervals_are_drawn_as_they_are() -> None:
    assert sparkline({0: 0.0, 1: 0.5, 2: None, 3: 1.0}, 4, 9, (0.0, 1.0), Glyphs()) == "▁▅ █ "
    assert sparkline({0: 0.0, 1: 0.1, 2: 0.2, 3: 0.9}, 3, 2, (0.0, 1.0), Glyphs()) == "▂▇", "the last of each stretch"
    assert sparkline({0: 5.0, 1: 10.0}, 1, 9, None, ASCII) == "_#"
    assert sparkline({}, 4, 3, None, Glyphs()) == "   "
    assert interval_drawn(0.95, (0.8, 1.0), 0.8, True, 11, Glyphs()) == "     ┼───●─", "from the threshold to the end"
    assert interval_drawn(0.2, (0.0, 0.8), 0.8, True, 11, Glyphs()) == "─●───┼     "
    assert interval_drawn(0.2, (0.0, 0.8), 0.8, False, 11, ASCII) == "     +---o-", "less is better: on the good side"
    assert interval_drawn(None, None, 0.8, True, 5, Glyphs()) == "  │  "
    assert bar(1, 3, 6, ASCII) == ("##", "----")
    assert bar(2.99, 3, 6, ASCII) == ("#####", "-"), "full only once all is done"
    assert bar(3, 3, 6, ASCII) == ("######", "")


@settings(max_examples=100, deadline=None)
@given(
    value=st.floats(-1e6, 1e6),
    spread=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    threshold=st.floats(-1e6, 1e6),
    above=st.booleans(),
    half=st.integers(2, 20),
)
def test_an_interval_that_lies_on_one_side_is_drawn_on_that_side(
    value: float, spread: tuple[float, float], threshold: float, above: bool, half: int
) -> None:
    low, high = value - spread[0], value + spread[1]
    drawn = interval_drawn(value, (low, high), threshold, above, 2 * half + 1, ASCII)
    assert len(drawn) == 2 * half + 1
    bad, good = drawn[:half], drawn[half + 1 :]
    if (low > threshold) if above else (high < threshold):
        assert bad.strip() == ""
    if (high < threshold) if above else (low > threshold):
        assert good.strip() == ""


def test_requests_of_the_next_step_do_not_count_twice_and_none_goes_missing() -> None:
    countdown = Countdown()
    countdown.plan("a", [10, 5, 5])
    for now in range(10):
        countdown.ended("a", now)
    countdown.recorded("a", 1)
    assert (countdown.done, countdown.total) == (10, 20)
    for now in range(10, 17):
        countdown.ended("a", now)  # 5 of the first step, and 2 of the second, which samples meanwhile
    countdown.recorded("a", 2)
    assert countdown.done == 17
    countdown.over("a")
    assert (countdown.done, countdown.total) == (15, 15), "it ended early: nothing is left of it"
    assert countdown.seconds_left(20.0) is None


def test_tokens_of_requests_are_those_of_their_record_once_that_is_there() -> None:
    spent = Spent()
    for _ in range(3):
        spent.asked("a", {"prompt": 2, "completion": 5})
    assert spent.total() == {"prompt": 6, "completion": 15}
    spent.recorded("a", {"prompt": 4, "completion": 10, "trained": 7})
    assert spent.total() == {"prompt": 6, "completion": 15, "trained": 7}, "one request is of the next record"


SPEAKING = """
import logging, os, subprocess, sys, warnings
early = logging.StreamHandler(sys.stderr)  # holds what standard error was before
from pathlib import Path
from claas.eval.reporters.console import console_reporter
from claas.results.settings import EvalConfig
from claas.results.keys import keys_of_schema_1
with console_reporter() as reporter:
    reporter.run_started(EvalConfig(num_steps=4).resolved(), Path("run"), {"a": keys_of_schema_1()}, {"a": 4})
    print("from print")
    warnings.warn("from warnings")
    logging.getLogger("x").addHandler(early)
    logging.getLogger("x").error("from an early handler")
    os.write(2, b"from C\\n")
    os.write(2, b"\\r 10 %\\r 90 % of a bar\\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"])
    os.write(1, b"half a line")
print("after it")
"""


def test_what_others_print_meanwhile_stands_whole_above_the_display() -> None:
    child, ours = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        os.execv(sys.executable, [sys.executable, "-c", SPEAKING])
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        shown += part
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    os.close(ours)
    lines = [
        re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", line) for line in shown.decode().replace("\x1b[2K", "\n").split("\n")
    ]
    for said in ("from print", "from an early handler", "from C", " 90 % of a bar", "from a child", "half a line"):
        assert lines.count(said) == 1, said
    assert any(line.endswith("UserWarning: from warnings") for line in lines)
    assert lines.index("after it") > max(place for place, line in enumerate(lines) if line.startswith("a "))


def test_where_nothing_can_be_redrawn_colour_that_is_forced_makes_no_display(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with console_reporter() as reporter:
        assert isinstance(reporter, PlainReporter), "as in a log of CI"
    monkeypatch.delenv("FORCE_COLOR")
    table = plain_table("a", "b", left=("b",))
    table.add_row("one", "two words")
    table.add_row("three", "4")
    results_console().print(table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["three", "4"]
    assert all(line == line.rstrip() for line in lines)
