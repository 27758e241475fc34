"""The real command on a disk that is full: it says so, exits resumable, and goes on once there is room."""

import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.faults import processes
from tests.faults.on_disk import OnDisk
from tests.faults.small_run import SmallRun

pytestmark = pytest.mark.faults

SIZES_KIB = [4, 64, 1_000, 4_500, 9_000, 14_000, 19_000, 65_536]
"""From no room for the manifest, over none for a version in the middle of the run, to enough for everything."""


@pytest.fixture
def resize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[int], Path], None, None]:
    """Gives the folder of a small file system, after it was made as large as asked for, in KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    if _mount(disk, SIZES_KIB[0]):
        pytest.skip("this machine does not allow mounting a small file system")

    def resized(size_kib: int) -> Path:
        assert not _mount(disk, size_kib, "remount,")
        return disk

    yield resized
    monkeypatch.chdir(tmp_path)  # nobody may stand in it
    subprocess.run(["umount", str(disk)], check=True)


def test_a_run_goes_on_whenever_its_disk_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: SmallRun, resize: Callable[[int], Path]
) -> None:
    for number, size_kib in enumerate(SIZES_KIB):
        disk, log = resize(size_kib), tmp_path / f"log-{number}"
        monkeypatch.chdir(disk)
        process = processes.start("claas.eval", unbroken.arguments, log)
        process.join()
        if process.exitcode == 0:
            break
        said = log.read_text()
        assert process.exitcode in (2, 3), said
        assert "No space left on device" in said
        assert "Traceback" not in said
        assert process.exitcode == 2 or "to continue, run: " in said
    assert process.exitcode == 0, said
    assert number > 3, "the disk was never full in the middle of the run"
    unbroken.require_equal(OnDisk(disk / "run", disk / "run" / "stack"))


def _mount(folder: Path, size_kib: int, remount: str = "") -> int:
    options = f"{remount}size={size_kib}k"
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True).returncode
