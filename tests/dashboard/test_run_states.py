"""What has become of a run: running, stopped, failed, complete, half written; and going on after a failure."""

import os
import time
from dataclasses import replace
from pathlib import Path

from claas.core.files import is_locked
from claas.results import summary
from claas.results.overview import summaries
from claas.results.records import Status
from claas.results.run_files import RunFiles
from claas.results.summary import build_summary
from tests.dashboard.written_runs import (
    few,
    lines,
    read,
    row_of,
    state,
    worked_on,
    write_preference,
    write_run,
)


def test_every_state_is_told_apart(tmp_path: Path) -> None:
    done, half = {"concise": few(steps=2)}, {"concise": few(steps=2, done=1)}
    write_run(tmp_path / "complete", done)
    write_run(tmp_path / "stopped", half, summarised=False)
    write_run(tmp_path / "failed", {"concise": few(steps=2, done=1, failure="the server is gone")})
    write_run(tmp_path / "one-to-go", done, preferences=["concise", "identity"])
    write_run(tmp_path / "begun", {})
    write_run(tmp_path / "unreadable", done)
    (tmp_path / "unreadable" / "config.json").write_text("{")
    assert {folder.name: state(folder) for folder in tmp_path.iterdir()} == {
        "complete": "complete",
        "stopped": "stopped",
        "failed": "failed",
        "one-to-go": "stopped",
        "begun": "stopped",
        "unreadable": "unreadable",
    }


def test_a_run_that_a_process_holds_is_running_and_stopped_when_that_ends(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, {"concise": few(steps=2, done=1)}, summarised=False)
    assert state(folder) == "stopped"
    with worked_on(folder):
        RunFiles(folder).config.touch()  # as whoever continues a run writes its config.json anew
        assert is_locked(RunFiles(folder).lock)
        assert state(folder) == "running"
        assert read(folder).status is Status.RUNNING
    assert not is_locked(RunFiles(folder).lock)
    assert state(folder) == "stopped"


def test_a_failure_is_told_until_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    failed = few(steps=3, done=1, failure="the server is gone")
    write_run(folder, {"concise": failed})
    assert read(folder).histories["concise"].failure == "the server is gone"
    with worked_on(folder):
        later = time.time_ns() + 10**9
        os.utime(RunFiles(folder).config, ns=(later, later))
        run = read(folder)
        assert (run.histories["concise"].failure, run.status) == (None, Status.RUNNING)
        assert (summaries(run)["concise"].failure, summaries(run)["concise"].status) == (None, Status.RUNNING)
        with RunFiles(folder).preference("concise").steps.open("a") as file:
            file.write(lines(few(steps=3))[1] + "\n")
        assert summaries(read(folder))["concise"].steps_done == 2
    run = read(folder)
    assert (run.status, run.histories["concise"].failure) == (None, None), "stopped: nothing is known of its end"


def test_of_preferences_side_by_side_one_has_failed_while_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    failed, running = few(steps=3, done=1, failure="gone"), few("identity", steps=3, done=1)
    config = write_run(folder, {"concise": failed, "identity": running}, summarised=False)
    summary.write(folder, build_summary("run", config, {"concise": failed}))
    with worked_on(folder):
        run = read(folder)
        assert run.status is Status.RUNNING
        assert (run.histories["concise"].failure, run.histories["identity"].failure) == ("gone", None)


def test_half_written_runs_are_read_as_far_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = write_run(folder, {}, summarised=False)
    assert (read(folder).histories, summaries(read(folder))) == ({}, {})
    files, history = RunFiles(folder), few(steps=3)
    write_preference(files, "concise", replace(history, baseline=None, steps=()))
    run = read(folder)
    assert (run.histories["concise"].baseline, run.problems) == (None, ())
    assert summaries(run)["concise"].reason == "running: 0 of 3 steps done"
    assert history.baseline is not None
    files.preference("concise").baseline.write_text(history.baseline.model_dump_json())
    begun = replace(history, steps=())
    assert summaries(read(folder)) == build_summary("run", config, {"concise": begun}).preferences
    assert state(folder) == "stopped"
    files.preference("concise").steps.write_text(lines(history)[0] + "\n")
    assert len(read(folder).histories["concise"].steps) == 1
    row = row_of(folder).row
    assert row is not None
    assert (row.updates, row.planned) == (1, 3)
