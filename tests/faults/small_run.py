"""The small run that faults are injected into: the command that makes it, and what it leaves when undisturbed."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.faults import processes
from tests.faults.on_disk import OnDisk

STEPS = 4
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SmallRun:
    """A command that makes a small run in `run` below the working directory, and what an unbroken one leaves.

    `seconds` is how long it takes in a process that has imported everything.
    """

    arguments: tuple[str, ...]
    outcome: dict[str, Any]
    versions: list[dict[str, Any]]
    seconds: float

    def require_equal(self, disk: OnDisk) -> None:
        """The run on the disk is the unbroken one, its numbers stand, and every update was trained once."""
        assert disk.versions() == self.versions
        assert disk.outcome() == self.outcome
        assert all(times == 1 for times in disk.trainings().values())
        require_recomputable(disk.run)


def make(folder: Path) -> SmallRun:
    """The small run, made once by the command as a person types it, and once more to see how long it takes."""
    arguments = _arguments(small_preferences(folder / "mine", "calm"))
    command = [sys.executable, "-m", "claas.eval", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    disk = OnDisk(folder / "run", folder / "run" / "stack")
    run = SmallRun(arguments, disk.outcome(), disk.versions(), _seconds(arguments, folder / "again"))
    assert [version["key"] for version in run.versions] == [None, *(f"run/calm/{step}" for step in range(STEPS))]
    assert disk.trainings() == dict.fromkeys(range(1, STEPS + 1), 1)
    return run


def _arguments(preferences: Path) -> tuple[str, ...]:
    chosen = ["preferences=[calm]", "metrics=[logprob,compliance,drift]", f"num_steps={STEPS}", "batch_size=2"]
    rest = ["max_tokens=24", "training.steps_per_batch=2", "fail_on_error=true", "plots=false", "output_dir=run"]
    return ("--config-dir", str(preferences), *chosen, *rest)


def _seconds(arguments: tuple[str, ...], folder: Path) -> float:
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        processes.start("claas.eval", ["num_steps=nonsense"], folder / "warm.log").join()  # imports, once
        began = time.monotonic()
        process = processes.start("claas.eval", arguments, folder / "log")
        process.join()
    assert process.exitcode == 0, (folder / "log").read_text()
    return time.monotonic() - began
