"""A stack that only takes its time: the API on a socket, in a process of its own, around a scripted engine."""

import asyncio
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.eval.live_api import live_api
from tests.fakes.engine import FakeEngine

LATENCY_S = 0.05


class SlowEngine(FakeEngine):
    """Answers, scores and learns after 50 ms, whatever else it does meanwhile."""

    async def sample(self, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(LATENCY_S)
        return await super().sample(*args, **options)

    async def score(self, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(LATENCY_S)
        return await super().score(*args, **options)


def _serve(folder: Path, other: Connection) -> None:
    with live_api(folder, SlowEngine(folder / "engine", update_s=LATENCY_S)) as url:
        other.send(url)
        with suppress(EOFError):
            other.recv()


@contextmanager
def slow_stack() -> Generator[str]:
    """The address of the API."""
    processes = get_context("spawn")
    ours, theirs = processes.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = processes.Process(target=_serve, args=(Path(folder), theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            yield ours.recv()
        finally:
            ours.close()
            process.join()
