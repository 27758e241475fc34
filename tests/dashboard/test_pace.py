"""How long steps took and what is left: from the records, and as the terminal says it."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from claas.dashboard.run_page import run_view
from claas.eval.reporters.live import LiveReporter
from claas.results.keys import keys_of_schema_1
from claas.results.numbers import duration
from claas.results.overview import seconds, step_seconds
from claas.results.records import History
from claas.results.settings import EvalConfig
from tests.dashboard.written_runs import few, read, timed, worked_on, write_run


def test_a_step_takes_from_the_record_before_it_to_its_own() -> None:
    history = timed(few(steps=3), [0, 10, 25, 31.5], [10, 15, 6.5])
    assert step_seconds(history) == [10, 15, 6.5]
    assert seconds(history) == 2.0 + 31.5, "the baseline's phases took two seconds"


def test_phases_that_overlap_count_once() -> None:
    assert step_seconds(timed(few(steps=2), [0, 10, 20], [14, 12])) == [10, 10]


def test_a_pause_before_a_resumed_step_is_left_out() -> None:
    history = timed(few(steps=3), [0, 10, 3600, 3610], [10, 12, 10])
    assert step_seconds(history) == [10, 12, 10]


def test_a_clock_that_was_put_back_takes_no_time() -> None:
    assert step_seconds(timed(few(steps=2), [100, 40, 50], [10, 10])) == [0, 10]


def test_times_with_and_without_a_zone_are_all_utc() -> None:
    history = timed(few(steps=2), [0, 10, 20], [99, 99])
    first = history.steps[0].model_copy(update={"timestamp": "2026-01-01T00:00:10"})
    second = history.steps[1].model_copy(update={"timestamp": "2026-01-01T01:00:20+01:00"})
    assert step_seconds(History("concise", 2, history.baseline, (first, second))) == [10, 10]


def test_nothing_has_taken_no_time() -> None:
    assert (step_seconds(History("concise", 3)), seconds(History("concise", 3))) == ([], 0.0)
    assert step_seconds(few(steps=3, done=0)) == []


HISTORIES = {
    "concise": timed(few(steps=6), [0, 9, 13, 17.5, 23, 28, 34], [20] * 6),
    "no_emoji": timed(few("no_emoji", steps=6, done=1, failure="the server is gone"), [0, 8], [20]),
    "identity": timed(few("identity", steps=6, done=3), [0, 12, 18, 25], [20] * 3),
}


@pytest.mark.parametrize("parallel", [1, 2, 9])
def test_progress_and_time_left_are_those_of_the_terminal(tmp_path: Path, parallel: int) -> None:
    config = EvalConfig(preferences=[*HISTORIES, "formal"], num_steps=6, parallel_preferences=parallel).resolved()
    write_run(tmp_path / "run", HISTORIES, preferences=config.preferences, num_steps=6, parallel_preferences=parallel)
    with worked_on(tmp_path / "run"):
        view = run_view(read(tmp_path / "run"))
    shown = terminal(config)
    for preference in view.preferences:
        line = preference.progress
        cells = [line.cell(column) for column in view.columns]
        told = [line.name, f"{line.done}/{line.planned}", *cells, line.state]
        assert " ".join(" ".join(told).split()) in shown
        assert line.failure is None or f"{line.name} failed: {line.failure}" in shown
        assert not line.alarms() or f"! {line.name}: {', '.join(line.alarms())}" in shown
    assert "formal 0/6" in shown
    assert view.waiting == ["formal"]
    assert view.seconds_left is not None
    assert f"about {duration(view.seconds_left)} left" in shown


def terminal(config: EvalConfig) -> str:
    """The last table that a terminal shows of these records, bars and gaps taken out."""
    file = io.StringIO()
    reporter = LiveReporter(Console(file=file, width=200, force_terminal=True, color_system=None), Console(file=file))
    reporter.run_started(
        config,
        Path("run"),
        dict.fromkeys(config.preferences, keys_of_schema_1()),
        dict.fromkeys(config.preferences, config.num_steps),
    )
    for name, history in HISTORIES.items():
        reporter.preference_started(name, 0)
        assert history.baseline is not None
        reporter.baseline_measured(name, history.baseline)
        for step, took in zip(history.steps, step_seconds(history), strict=True):
            reporter.step_finished(name, step, took)
        if history.failure or len(history.steps) == config.num_steps:
            reporter.preference_ended(name, history.failure)
    reporter.close()
    last = re.sub("[━─▁▂▃▄▅▆▇█]", "", file.getvalue().rsplit("preference", 1)[1])
    return " ".join(last.split())


def test_nothing_is_left_of_a_run_that_nobody_works_on(tmp_path: Path) -> None:
    write_run(tmp_path / "run", HISTORIES, num_steps=6)
    assert run_view(read(tmp_path / "run")).seconds_left is None
