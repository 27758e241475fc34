"""Room on the disk given back: what goes, what stays, and what is refused, whatever goes wrong meanwhile."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from claas.core.errors import Conflict, InvalidInput, StackError
from claas.results import upkeep
from claas.results.manifest import read_manifest
from claas.results.run_files import RunFiles
from claas.results.run_index import find_runs
from claas.results.upkeep import delete, free, others_in, parts_of
from tests.dashboard.written_runs import few, worked_on, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with a stack of two files of 8 kB each, one of which has two names."""
    root = tmp_path / "evals" / "run"
    write_run(root, {"concise": few(steps=1)})
    adapters = root / "stack" / "adapters"
    adapters.mkdir(parents=True)
    (adapters / "one").write_bytes(b"x" * 8192)
    (adapters / "two").write_bytes(b"y" * 8192)
    os.link(adapters / "one", adapters / "again")
    return root


def test_parts_are_what_the_disk_holds_the_largest_first(run: Path) -> None:
    parts = parts_of(run)
    sizes = {part.name: part.size for part in parts}
    assert set(sizes) == {"config.json", "summary.json", "concise", "stack"}
    assert [part.size for part in parts] == sorted(sizes.values(), reverse=True)
    folders = (run / "stack", run / "stack" / "adapters")
    assert sizes["stack"] == 2 * 8192 + sum(folder.stat().st_blocks * 512 for folder in folders)


def test_a_finished_run_gives_its_stack_back_and_keeps_the_rest(run: Path) -> None:
    before = {part.name: part.size for part in parts_of(run)}
    assert free(run) >= 2 * 8192
    assert {part.name for part in parts_of(run)} - {".lock"} == set(before) - {"stack"}
    assert free(run) == 0, "there is nothing left to free"


def test_a_run_that_may_go_on_keeps_its_stack(tmp_path: Path, run: Path) -> None:
    shutil.copytree(run / "stack", tmp_path / "half" / "stack")
    write_run(tmp_path / "made", {"concise": few(steps=3, done=2)})
    shutil.move(tmp_path / "half" / "stack", tmp_path / "made" / "stack")
    with pytest.raises(InvalidInput, match="has not finished, and needs its stack to go on"):
        free(tmp_path / "made")
    (run / "summary.json").unlink()
    with pytest.raises(InvalidInput, match="has not finished"):
        free(run)
    assert (run / "stack" / "adapters" / "one").exists()


@pytest.mark.parametrize("act", [free, delete])
def test_a_run_under_way_is_left_alone(run: Path, act: object) -> None:
    assert callable(act)
    with worked_on(run), pytest.raises(Conflict, match="a process works on"):
        act(run)
    assert (run / "stack" / "adapters" / "one").exists()


def test_a_run_is_deleted_and_its_neighbours_are_not(run: Path) -> None:
    write_run(run.parent / "other", {"concise": few(steps=1)})
    size = sum(part.size for part in parts_of(run))
    assert delete(run) >= size
    assert os.listdir(run.parent) == ["other"]


@pytest.mark.parametrize(
    "other", ["notes.txt", ".git/config", ".env", "runs/a/config.json", "concise2/steps.txt", "summary.json.orig"]
)
def test_what_is_no_part_of_a_run_is_not_deleted_unasked(run: Path, other: str) -> None:
    (run / other).parent.mkdir(exist_ok=True, parents=True)
    (run / other).write_text("mine")
    assert others_in(run, read_manifest(RunFiles(run))) == [other.split("/")[0]]
    with pytest.raises(InvalidInput, match=r"also holds what is no part of a run: .*--with-others"):
        delete(run)
    assert (run / other).read_text() == "mine"
    assert (run / "stack" / "adapters" / "one").exists()
    assert delete(run, with_others=True) > 0
    assert not run.exists()


def test_only_a_runs_own_folder_is_deleted(run: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(run)
    for what, said in {
        link: "is a link",
        run.parent: "is not a run's folder",
        tmp_path / "no": "there is no folder",
    }.items():
        for act in (delete, free):
            with pytest.raises(InvalidInput, match=said):
                act(what)
    (run / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="cannot be read"):
        delete(run)
    assert (run / "stack" / "adapters" / "one").exists()


def test_what_links_lead_to_stays(run: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.move(run / "stack", kept)
    (run / "stack").symlink_to(kept)
    (run / "concise" / "sampled").mkdir()
    (run / "concise" / "sampled" / "0.json").symlink_to(kept / "adapters" / "one")
    with pytest.raises(InvalidInput, match="is a link, which is not followed"):
        free(run)
    delete(run)
    assert sorted(os.listdir(kept / "adapters")) == ["again", "one", "two"]


def test_a_deletion_that_was_killed_is_out_of_sight_and_finished_by_the_next(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(run.parent / "other", {"concise": few(steps=1)})

    def killed(folder: Path) -> None:
        shutil.rmtree(folder / "stack")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "_delete_all", killed)
        with pytest.raises(KeyboardInterrupt):
            delete(run)
    assert [folder.name for folder in find_runs(run.parent)] == ["other"]
    assert sorted(os.listdir(run.parent)) == [".deleting-run", "other"]
    delete(run.parent / "other")
    assert os.listdir(run.parent) == []


def test_what_cannot_be_moved_away_is_not_begun_with(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StackError, match="Permission denied"):
        delete(run)
    assert (run / "stack" / "adapters" / "one").exists()


@pytest.mark.parametrize("act", [free, delete])
def test_the_adapters_that_an_api_serves_stay(run: Path, act: Callable[[Path], int]) -> None:
    with worked_on(run / "stack"), pytest.raises(Conflict, match="an API works on"):
        act(run)
    assert (run / "stack" / "adapters" / "one").exists()
