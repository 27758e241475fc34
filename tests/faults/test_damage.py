"""A run whose files were damaged is refused with what is wrong, or survives; nothing that was recorded is lost."""

import asyncio
import resource
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import StackError
from claas.eval.__main__ import main
from tests.eval.live_api import live_api
from tests.eval.scripted_run import Halting, outcome, run, settings, talkative
from tests.eval.small_preferences import small_preferences
from tests.fakes.engine import BASE_MODEL, FakeEngine
from tests.faults.on_disk import OnDisk, tear_last_line

STEPS = 2


@dataclass(frozen=True)
class Finished:
    """A finished run, the command that made it without its `output_dir`, and the stack that it was made on."""

    run: Path
    arguments: tuple[str, ...]
    engine: FakeEngine
    outcome: dict[str, Any]

    def copy(self, folder: Path, *, without_last_step: bool) -> "Copy":
        """The run as it is, or as it was while its last step was measured."""
        shutil.copytree(self.run, folder / "run")
        disk = OnDisk(folder / "run", folder / "none")
        if without_last_step:
            tear_last_line(disk.records / "steps.jsonl", missing_bytes=1_000_000)
        return Copy(disk, [*self.arguments, f"output_dir='{disk.run}'"])


@dataclass(frozen=True)
class Copy:
    """A copy of the finished run, and the command that continues it."""

    disk: OnDisk
    command: list[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Generator[Finished, None, None]:
    folder = tmp_path_factory.mktemp("finished")
    engine = FakeEngine(folder / "engine")
    mine = small_preferences(folder / "mine", "calm")
    with live_api(folder / "server", engine) as url:
        chosen = ["preferences=[calm]", "metrics=[logprob]", f"num_steps={STEPS}", "plots=false"]
        arguments = ("--config-dir", str(mine), *chosen, f"base_model={BASE_MODEL}", f"claas_url={url}")
        assert main([*arguments, f"output_dir='{folder / 'run'}'"]) == 0
        yield Finished(folder / "run", arguments, engine, OnDisk(folder / "run", folder / "server" / "store").outcome())


@pytest.fixture(params=[False, True], ids=["finished", "unfinished"])
def copy(request: pytest.FixtureRequest, finished: Finished, tmp_path: Path) -> Copy:
    return finished.copy(tmp_path, without_last_step=request.param)


@pytest.mark.parametrize("name", ["baseline.json", "ledger.jsonl", "metadata.json", "../config.json"])
def test_a_file_that_is_gone_is_named_and_mended_by_putting_it_back(
    finished: Finished, copy: Copy, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, aside = copy.disk.records / name, copy.disk.run.parent / "aside"
    path.replace(aside)
    assert path.name in refusal(copy.command, capsys)
    aside.replace(path)
    assert main(copy.command) == 0
    assert copy.disk.outcome() == finished.outcome
    assert len(finished.engine.trained) == STEPS


def without_last_receipt(disk: OnDisk) -> None:
    tear_last_line(disk.records / "ledger.jsonl", missing_bytes=10)


def of_other_weights(disk: OnDisk) -> None:
    path = disk.records / "steps.jsonl"
    path.write_text(path.read_text().replace('"version":1', '"version":7'))


def not_text(name: str) -> Callable[[OnDisk], None]:
    def damage(disk: OnDisk) -> None:
        path = disk.records / name
        path.write_bytes(path.read_bytes().replace(b"timestamp", b"times\xfftamp", 1))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_last_receipt, "ledger.jsonl has 1 updates for the 2 steps of steps.jsonl"),
        (of_other_weights, "step 0 of steps.jsonl was measured on another version than ledger.jsonl says"),
        (not_text("steps.jsonl"), "steps.jsonl is damaged at line 1: byte "),
        (not_text("ledger.jsonl"), "ledger.jsonl is damaged at line 1: byte "),
        (not_text("baseline.json"), "baseline.json is damaged: byte "),
    ],
    ids=["receipt lost", "other weights", "steps no text", "ledger no text", "baseline no text"],
)
def test_records_that_cannot_be_true_are_refused(
    finished: Finished, tmp_path: Path, damage: Callable[[OnDisk], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = finished.copy(tmp_path, without_last_step=False)
    damage(copy.disk)
    assert said in refusal(copy.command, capsys)


def test_a_deleted_summary_and_deleted_plots_are_made_anew(finished: Finished, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path, without_last_step=False)
    (copy.disk.run / "summary.json").unlink()
    assert main([*copy.command, "plots=true"]) == 0
    assert list((copy.disk.run / "plots").glob("*.png"))
    assert (copy.disk.run / "report.html").exists()
    assert copy.disk.outcome() == finished.outcome


@pytest.mark.parametrize("missing_bytes", [1, 100, 1_000_000], ids=["line break", "end", "all"])
def test_the_last_lines_torn_are_written_again(finished: Finished, tmp_path: Path, missing_bytes: int) -> None:
    copy = finished.copy(tmp_path, without_last_step=True)
    tear_last_line(copy.disk.records / "ledger.jsonl", missing_bytes)
    assert main(copy.command) == 0
    assert copy.disk.outcome() == finished.outcome
    assert len(finished.engine.trained) == STEPS


@pytest.mark.parametrize("room", [100, 2_000, 4_000, 8_000, 12_000])
def test_a_file_that_finds_no_room_ends_a_run_that_goes_on_when_there_is_some(
    tmp_path: Path, whole: dict[str, Any], room: int
) -> None:
    config, stack = settings(tmp_path / "run"), talkative()
    with room_for(room), pytest.raises(StackError, match=r"cannot write .*: File too large; free or .* run the same"):
        asyncio.run(run(Halting(stack), config))
    assert not list(tmp_path.rglob("*.tmp"))
    asyncio.run(run(Halting(stack), config))
    assert outcome(tmp_path / "run") == whole
    assert [asked.kind for asked in stack.asked].count("feedback") == config.num_steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of the scripted run where there is room for everything."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    asyncio.run(run(Halting(talkative()), settings(folder)))
    return outcome(folder)


def test_settings_are_read_without_a_temporary_folder(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert main([*finished.arguments, f"output_dir='{finished.run}'"]) == 0


@contextmanager
def room_for(size_bytes: int) -> Generator[None, None, None]:
    """No file of this process may grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refusal(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line in which a command says why it will not run, and what to do."""
    capsys.readouterr()
    assert main(command) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("claas.eval: ")]
    assert len(lines) == 1
    assert "put " in lines[0]
    assert "another" in lines[0] or "elsewhere" in lines[0]
    return lines[0]
