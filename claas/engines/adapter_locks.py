"""One change of an adapter at a time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from claas.core.checks import adapter_id
from claas.core.errors import Conflict


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
