"""A run as pages see it: what its records hold, what cannot be read, and an index that makes no difference."""

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from claas.core.errors import InvalidInput
from claas.results.manifest import new_manifest
from claas.results.points import INDEX_VERSION
from claas.results.run_files import RunFiles
from claas.results.run_index import FOLDER, RunIndex
from claas.results.settings import EvalConfig
from tests.dashboard.written_runs import (
    few,
    lines,
    read,
    row_of,
    state,
    without_transcripts,
    write_preference,
    write_run,
)
from tests.results.synthetic_runs import Unchanged, make_history


def test_histories_are_those_on_record(tmp_path: Path) -> None:
    histories = {"concise": few(steps=3), "identity": few("identity", steps=3, done=1)}
    write_run(tmp_path / "run", histories, summarised=False)
    run = read(tmp_path / "run")
    assert run.histories == {name: without_transcripts(history) for name, history in histories.items()}
    assert list(run.histories) == list(histories), "in the order of the configuration"
    assert run.problems == ()


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
        older = file.read_text().split("\n", 1)[1].replace(f'"index_version":{INDEX_VERSION}', '"index_version":0')
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


def test_a_preference_that_is_a_link_or_cannot_be_named_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, {"concise": few(steps=2)})
    (folder / "concise").rename(tmp_path / "elsewhere")
    (folder / "concise").symlink_to(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", folder / os.fsdecode(b"odd-\xff"))
    run = read(folder)
    assert run.histories == {}
    assert run.problems == tuple(
        f"{name} is not read: it is a link, or its name is not UTF-8" for name in ("concise", "odd-\ufffd")
    )


def test_what_is_no_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"holds no config\.json"):
        read(tmp_path)
    for text, said in [
        ("{}", "cannot be read"),
        ('{"schema_version": 2, "other": 1}', "is of schema 2, this version reads up to 1"),
        (manifest({"steps": 3}), "unknown key 'steps'"),
        (manifest({"num_steps": -1}), "num_steps must be >= 1, got -1"),
        (manifest({"num_steps": 10**400}), "num_steps must be >= 1, got 1000"),
    ]:
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InvalidInput, match=said):
            read(tmp_path)


def manifest(config: dict[str, object]) -> str:
    return new_manifest("r", EvalConfig()).model_copy(update={"config": config}).model_dump_json()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.parametrize("file", ["baseline.json", "steps.jsonl", "metadata.json"])
def test_what_is_no_file_where_one_should_be_is_named(tmp_path: Path, file: str, make: Callable[[Path], None]) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=2)})
    (tmp_path / "run" / "concise" / file).unlink()
    make(tmp_path / "run" / "concise" / file)
    listed = row_of(tmp_path / "run")
    problems = (listed.problem,) if listed.row is None else listed.row.problems
    assert any(f"{file} cannot be read: it is not a file" in str(problem) for problem in problems) or (
        f"{file}: it is not a file" in str(listed.problem)
    )


def test_pipes_where_a_run_keeps_what_can_be_made_anew_are_not_waited_for(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=2)})
    read(tmp_path / "run")
    kept = [path for path in (tmp_path / "run" / FOLDER).rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        path.unlink()
        os.mkfifo(path)
        os.mkfifo(path.with_name(f".{path.name}.tmp"))
    os.mkfifo(tmp_path / "run" / ".lock")
    run = read(tmp_path / "run")
    assert (len(run.points["concise"].points), run.held) == (2, False)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"tokens": {"out": 10**400}}, "tokens: Input should be less than"),
        ({"timing_s": {"all": 1e308, "more": 1e308}}, "busy_s: Input should be a finite number"),
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
