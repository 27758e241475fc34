"""A run as pages see it: what has become of it, what its summary says or would say, and what cannot be read."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from claas.core.errors import ClaasError, InvalidInput, StackError
from claas.core.locks import is_locked, locked
from claas.dashboard.last_measured import last_measured, summaries
from claas.dashboard.overview import Listed, listed
from claas.dashboard.run_folders import Folder
from claas.dashboard.run_index import FOLDER, RunIndex
from claas.eval.history import Status
from claas.eval.run.files import RunFiles
from claas.eval.run.manifest import new_manifest
from claas.eval.types import EvalConfig
from claas.eval.verdicts import summary
from claas.eval.verdicts.summary import build_summary
from tests.dashboard.written_runs import (
    Few,
    few,
    lines,
    read,
    without_transcripts,
    worked_on,
    write_preference,
    write_run,
)
from tests.eval.synthetic_runs import Collapsing, Unchanged, World, make_history


def row_of(folder: Path) -> Listed:
    return listed(Folder(folder.name, folder))


def state(folder: Path) -> str:
    """What the list says, with the row kept and without."""
    kept = folder / FOLDER / "row.json"
    first, again = row_of(folder), row_of(folder)
    kept.unlink(missing_ok=True)
    assert first == again == row_of(folder)
    return first.state.value


def test_histories_are_those_on_record(tmp_path: Path) -> None:
    histories = {"concise": few(steps=3), "identity": few("identity", steps=3, done=1)}
    write_run(tmp_path / "run", histories, summarised=False)
    run = read(tmp_path / "run")
    assert run.histories == {name: without_transcripts(history) for name, history in histories.items()}
    assert list(run.histories) == list(histories), "in the order of the configuration"
    assert run.problems == ()


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


def test_looking_at_a_lock_does_not_keep_others_from_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    assert not path.exists(), "looking makes no file"
    with locked(path, "taken"):
        assert is_locked(path), "the lock is held by another opening of the file"
    assert not is_locked(path)
    with locked(path, "taken"):
        pass
    path.unlink()
    path.mkdir()
    assert not is_locked(path)


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


WORLDS = [(World, 7), (Collapsing, 7), (Unchanged, 3), (Few, 5), (Few, 0)]


@pytest.mark.parametrize(("world", "done"), WORLDS)
def test_what_is_made_without_transcripts_is_what_all_of_them_make(
    tmp_path: Path, world: type[World], done: int
) -> None:
    histories = {
        "concise": make_history(world(), steps=7, done=done),
        "identity": make_history(world(1), "identity", steps=7, done=2),
        "no_emoji": make_history(Few(), "no_emoji", steps=7),
    }
    config = write_run(tmp_path / "run", histories, summarised=False)
    run = read(tmp_path / "run")
    assert summaries(run) == build_summary(run.manifest.run_id, config, histories).preferences


def test_a_preference_that_has_ended_is_judged_among_all_of_the_run(tmp_path: Path) -> None:
    """While another goes on, too: p-values are adjusted for one another."""
    histories = {
        "concise": make_history(Collapsing(), steps=3),
        "identity": make_history(World(2), "identity", steps=3),
        "no_emoji": make_history(Unchanged(), "no_emoji", steps=3, done=2),
    }
    config = write_run(tmp_path / "run", histories, summarised=False)
    summary.write(tmp_path / "run", build_summary("run", config, {"concise": histories["concise"]}))
    assert summaries(read(tmp_path / "run")) == build_summary("run", config, histories).preferences


def test_what_was_lost_at_the_end_is_taken_from_where_it_was_last_measured(tmp_path: Path) -> None:
    history = make_history(Few(), steps=4)
    last = history.steps[-1]
    lost = [
        each.model_copy(update={"response": None, "verdict": None, "error": "gone"})
        if each.metric != "general"
        else each
        for each in last.rollouts
    ]
    values = {key: value if key == "general" else None for key, value in last.eval.items()}
    spoilt = last.model_copy(update={"rollouts": lost, "eval": values})
    history = replace(history, steps=(*history.steps[:-1], spoilt))
    config = write_run(tmp_path / "run", {"concise": history}, summarised=False)
    run = read(tmp_path / "run")
    made = summaries(run)
    assert made == build_summary("run", config, {"concise": history}).preferences
    assert made["concise"].finals_at["heldout_compliance"] == 3
    kept = last_measured(run, "concise")
    assert [bool(step.rollouts) for step in kept.steps] == [True, False, True, True], "no more than was needed is read"


def test_of_a_whole_run_the_summary_is_taken_as_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, {"concise": few(steps=2)})
    text = (folder / "summary.json").read_text()
    assert '"all 6 criteria' in text or "undecided" in text
    (folder / "summary.json").write_text(text.replace("undecided: ", "as it was written: "))
    assert summaries(read(folder))["concise"].reason.startswith("as it was written: ")


def test_a_summary_of_other_records_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    history = few(steps=3)
    config = write_run(folder, {"concise": history}, summarised=False)
    summary.write(folder, build_summary("run", config, {"concise": few(steps=3, done=1)}))
    assert summaries(read(folder)) == build_summary("run", config, {"concise": history}).preferences


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


@pytest.mark.parametrize("index", ["missing", "rubbish", "older", "of another run", "in the way"])
def test_a_bad_index_makes_no_difference(tmp_path: Path, index: str) -> None:
    folder, history = tmp_path / "run", few(steps=3)
    write_run(folder, {"concise": history})
    expected, expected_row = read(folder), row_of(folder)
    for file in (folder / FOLDER).glob("**/*.json"):
        spoil(file, index, tmp_path)
    if index == "in the way":
        for file in sorted((folder / FOLDER).glob("**/*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        (folder / FOLDER).rmdir()
        (folder / FOLDER).write_text("no folder can be made here")
    for _ in range(2):
        assert shown(read(folder)) == shown(expected)
        assert row_of(folder) == expected_row


def test_readers_who_come_at_once_do_not_spoil_it_for_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    histories = {"concise": few(steps=3), "identity": few("identity", steps=3)}
    write_run(folder, histories)
    with ThreadPoolExecutor(8) as readers:
        rows = list(readers.map(lambda _: (row_of(folder), read(folder).histories), range(24)))
    light = {name: without_transcripts(history) for name, history in histories.items()}
    assert all(found == light and row == rows[0][0] for row, found in rows)


def spoil(file: Path, how: str, tmp_path: Path) -> None:
    if how == "missing":
        file.unlink()
    elif how == "rubbish":
        file.write_bytes(b"\x00\xff" * 100)
    elif how == "older":
        older = file.read_text().split("\n", 1)[1].replace('"index_version":1', '"index_version":0')
        assert '"index_version":0' in older
        file.write_text(f"{hashlib.sha256(older.encode()).hexdigest()}\n{older}")
    elif how == "of another run":
        other = tmp_path / "other"
        if not other.exists():
            write_run(other, {"concise": make_history(Unchanged(), steps=3)})
            row_of(other)
        file.write_bytes(
            (other / FOLDER / file.relative_to(file.parents[file.parts[::-1].index(FOLDER) - 1])).read_bytes()
        )


def shown(run: RunIndex) -> object:
    return run.histories, run.summary, run.metadata, run.problems, run.points["concise"].points


@pytest.mark.parametrize("name", ["row", "baseline", "metadata", "points"])
def test_a_preference_may_be_called_as_a_file_of_the_index_is(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "run", {name: few(name, steps=2)})
    for _ in range(2):
        assert state(tmp_path / "run") == "complete"
        assert list(read(tmp_path / "run").histories) == [name]


def test_a_row_follows_the_records_it_is_made_of(tmp_path: Path) -> None:
    folder, history = tmp_path / "run", few(steps=3)
    write_run(folder, {"concise": replace(history, steps=history.steps[:1])}, summarised=False)
    updates = [row.updates for row in (row_of(folder).row,) if row]
    steps = RunFiles(folder).preference("concise").steps
    for line in lines(history)[1:]:
        with steps.open("a") as file:
            file.write(line + "\n")
        updates += [row.updates for row in (row_of(folder).row,) if row]
    assert updates == [1, 2, 3]
    write_preference(RunFiles(folder), "extra", few("extra", steps=3, done=1))
    row = row_of(folder).row
    assert row is not None
    assert [each.name for each in row.preferences] == ["concise", "extra"]


def test_what_cannot_be_read_is_a_problem_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, {"concise": few(steps=2), "identity": few("identity", steps=2)})
    (folder / "summary.json").write_text("[]")
    (folder / "concise" / "metadata.json").write_bytes(b"\xff")
    with (folder / "identity" / "steps.jsonl").open("a") as file:
        file.write("no step\n")
    run = read(folder)
    assert len(run.problems) == 3
    for file in ("summary.json", "concise/metadata.json", "identity/steps.jsonl"):
        assert sum(str(folder / file) in problem for problem in run.problems) == 1
    assert (run.summary, run.metadata["concise"]) == (None, None)
    assert {name: len(history.steps) for name, history in run.histories.items()} == {"concise": 2, "identity": 2}
    row = row_of(folder).row
    assert row is not None
    assert row.problems == run.problems


def test_a_preference_that_is_a_link_is_not_followed_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, {"concise": few(steps=2)})
    (folder / "concise").rename(tmp_path / "elsewhere")
    (folder / "concise").symlink_to(tmp_path / "elsewhere")
    run = read(folder)
    assert run.histories == {}
    assert run.problems == ("concise is not read: it is a link, or its name is not UTF-8",)


def test_what_is_no_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"holds no config\.json"):
        read(tmp_path)
    for text, said in [
        ("{}", "cannot be read"),
        ('{"schema_version": 2, "other": 1}', "is of schema 2, this version reads up to 1"),
        (manifest({"steps": 3}), "unknown key 'steps'"),
        (manifest({"num_steps": -1}), "num_steps must be >= 1, got -1"),
        (manifest({"num_steps": 10**400}), "numbers that nothing can be computed from"),
    ]:
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InvalidInput, match=said):
            read(tmp_path)


def manifest(config: dict[str, object]) -> str:
    return new_manifest("r", EvalConfig()).model_copy(update={"config": config}).model_dump_json()


@pytest.mark.parametrize("file", ["baseline.json", "steps.jsonl", "metadata.json"])
def test_a_folder_where_a_file_should_be_is_an_error_that_names_it(tmp_path: Path, file: str) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=2)})
    (tmp_path / "run" / "concise" / file).unlink()
    (tmp_path / "run" / "concise" / file).mkdir()
    with pytest.raises((StackError, ClaasError), match=file):
        read(tmp_path / "run")
    assert file in str(row_of(tmp_path / "run").problem)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"tokens": {"out": 10**400}}, "tokens: Input should be less than"),
        ({"timing_s": {"all": 1e308, "more": 1e308}}, "seconds: Input should be a finite number"),
    ],
)
def test_numbers_beyond_arithmetic_are_said_in_one_line(tmp_path: Path, spoil: dict[str, object], said: str) -> None:
    history = few(steps=2)
    assert history.baseline is not None
    baseline = history.baseline.model_copy(update=spoil)
    write_run(tmp_path / "run", {"concise": replace(history, baseline=baseline)}, summarised=False)
    problem = row_of(tmp_path / "run").problem
    assert (
        problem == f"the run run has numbers that nothing can be computed from: {said}{str(problem).partition(said)[2]}"
    )
    assert "\n" not in problem
