"""What every engine needs to keep adapters: new ids, one lock for each, and a clock for phases."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager

from claas.core.checks import adapter_id, served_name
from claas.core.errors import Conflict


def require_new(lora_id: str, known_ids: Iterable[str]) -> None:
    """Raise `Conflict` where `lora_id`, or another id with its served name, is known."""
    name = served_name(adapter_id(lora_id))
    for known in known_ids:
        if known == lora_id:
            raise Conflict(f"adapter {lora_id!r} exists already; delete it first or choose another id")
        if served_name(known) == name:
            raise Conflict(f"adapter {lora_id!r} would be served as {name!r}, which is adapter {known!r}")


class AdapterLocks:
    """A lock per adapter."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def holding(self, lora_id: str) -> AsyncGenerator[None]:
        """Hold an adapter's lock. Raises `Conflict` where it is not to be had in time."""
        lock = self._locks.setdefault(adapter_id(lora_id), asyncio.Lock())
        try:
            async with asyncio.timeout(self._timeout_s):
                await lock.acquire()
        except TimeoutError:
            raise Conflict(
                f"adapter {lora_id!r} is being updated; its lock was not free within {self._timeout_s:g} s"
            ) from None
        try:
            yield
        finally:
            lock.release()


class Clock:
    """Milliseconds of wall time, by the name of the part."""

    def __init__(self) -> None:
        self.timing_ms: dict[str, float] = {}

    @contextmanager
    def timing(self, part: str) -> Generator[None]:
        """Record how long the block takes, also when it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timing_ms[part] = (time.perf_counter() - start) * 1e3
