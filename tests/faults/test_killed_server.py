"""A server that is killed while a harness waits for it: the harness tries again or can be started again, and wins."""

import asyncio
import re
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from random import Random
from threading import Event

import pytest

from claas.core.errors import StackError
from claas.eval.config.compose import compose
from claas.eval.runner import run_harness
from claas.results.settings import EvalConfig
from tests.faults.aims import Aim, aims
from tests.faults.live_server import LiveServer
from tests.faults.on_disk import OnDisk, Stage
from tests.faults.small_run import SmallRun

pytestmark = pytest.mark.faults

KILLS = 12


@pytest.mark.parametrize("comes_back", [True, False], ids=["back at once", "back when the harness has given up"])
def test_killed_at_12_moments_it_trains_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: SmallRun, comes_back: bool
) -> None:
    random, order = Random(2), cycle(each for each in aims(unbroken.seconds) if each.tears is None)
    struck: Counter[Stage] = Counter()
    given_up: list[str] = []
    for number in count():
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        with _serving(folder) as server:
            fire, done = _Fire(OnDisk(folder / "run", server.store), server, order, random, comes_back), False
            (job,) = compose(
                [*unbroken.arguments, f"claas_url={server.url}", *(() if comes_back else ("retry_for_s=1",))]
            )
            while not done:
                failure = fire.run(job.config)
                done = failure is None
                given_up += [] if failure is None else [failure]
            unbroken.require_equal(fire.disk)
        struck.update(fire.struck)
        if struck.total() >= KILLS:
            break
    assert set(struck) >= {Stage.SAMPLING, Stage.UPDATING, Stage.OWED}, struck
    if comes_back:
        assert len(given_up) < struck.total(), "the harness never lived through a kill"
    else:
        assert len(given_up) == struck.total(), "each time, the harness ended and could be started again"
        assert all(re.search("start it with: .* run the same command again", failure) for failure in given_up), given_up


@contextmanager
def _serving(folder: Path) -> Generator[LiveServer, None, None]:
    server = LiveServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass
class _Fire:
    """A harness in this process and, beside it, what kills its server: `struck` says where it stood each time."""

    disk: OnDisk
    server: LiveServer
    order: Iterator[Aim]
    random: Random
    comes_back: bool
    struck: list[Stage] = field(default_factory=list[Stage])

    def run(self, config: EvalConfig) -> str | None:
        """Why the harness ended; None when the run is complete. The server is up again afterwards."""
        ended = Event()
        self.server.await_ready()
        with ThreadPoolExecutor(1) as beside:
            striking = beside.submit(self._strike, ended)
            failure = _failure(config)
            ended.set()
            striking.result()
        if not self.server.is_up:
            self.server.start()
        return failure

    def _strike(self, ended: Event) -> None:
        """Kill the server: once for good, or again and again where it comes back."""
        while next(self.order).await_moment(self.disk, self.random, ended.is_set):
            self.server.kill()
            self.struck.append(self.disk.stage())
            if not self.comes_back:
                return
            self.server.start()
            self.server.await_ready()


def _failure(config: EvalConfig) -> str | None:
    try:
        results = asyncio.run(run_harness(config))
    except StackError as error:
        return str(error)
    return next(iter(results.failures.values()), None)
