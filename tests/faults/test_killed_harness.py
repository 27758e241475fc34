"""A harness that is killed 25 times, wherever it stands, ends as one that never was."""

from collections import Counter
from itertools import count, cycle
from pathlib import Path
from random import Random

import pytest

from tests.faults import processes
from tests.faults.aims import Aim, aims
from tests.faults.on_disk import OnDisk, Stage, tear_last_line
from tests.faults.small_run import SmallRun

pytestmark = pytest.mark.faults

KILLS = 25


def test_killed_at_25_moments_it_ends_as_if_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: SmallRun
) -> None:
    random, order = Random(1), cycle(aims(unbroken.seconds))
    struck: Counter[Stage] = Counter()
    for number in count():
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        disk = OnDisk(folder / "run", folder / "run" / "stack")
        while _killed(unbroken, disk, next(order), random):
            struck[disk.stage()] += 1
        unbroken.require_equal(disk)
        if struck.total() >= KILLS:
            break
    assert set(struck) >= {Stage.SAMPLING, Stage.UPDATING, Stage.OWED}, struck


def _killed(run: SmallRun, disk: OnDisk, aim: Aim, random: Random) -> bool:
    """Start the command, or start it again, and kill it where `aim` says; False when it had finished before."""
    log = disk.run.parent / "log"
    steps = disk.steps()
    process = processes.start("claas.eval", run.arguments, log)
    if aim.await_moment(disk, random, lambda: not process.is_alive()):
        process.kill()
    process.join()
    assert process.exitcode in (0, processes.KILLED), log.read_text()
    if process.exitcode == 0:
        return False
    if aim.tears is not None and disk.steps() > steps:
        tear_last_line(disk.records / aim.tears, random.randrange(1, 1000))
    return True
