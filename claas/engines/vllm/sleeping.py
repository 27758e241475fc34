"""Letting a server sleep during an update: requests wait meanwhile, and wake it if nobody else does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager

from claas.core.errors import InvalidInput
from claas.engines.vllm.client import VllmClient


class Sleeping:
    """When `client`'s server sleeps. `sleep_mode`: it gives up memory; else it pauses; None where it can do neither."""

    def __init__(self, client: VllmClient, sleep_mode: bool | None) -> None:
        self._client = client
        self._sleep_mode = sleep_mode
        self._asleep = False
        self._sleepers = 0
        self._asking = 0
        self._turn = asyncio.Lock()
        self._wanted = asyncio.Event()  # by nobody asleep
        self._wanted.set()
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def awake(self) -> AsyncGenerator[None]:
        """Keep the server awake inside the block."""
        await self._enter()
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._idle.set()

    async def sleep(self, level: int) -> bool:
        """Put the server to sleep until `wake`, once pending requests are done; returns whether it did.

        Raises `InvalidInput` for a level at which it would forget its weights.
        """
        if self._sleep_mode is None:
            return False
        if self._sleep_mode and level != 1:
            raise InvalidInput(f"sleep_level={level}: vLLM would give up its weights, which nothing loads again; use 1")
        self._sleepers += 1
        self._wanted.clear()
        with ExitStack() as on_failure:
            on_failure.callback(self._leave)
            async with self._turn:
                await self._idle.wait()
                if not self._asleep:
                    await self._client.pause(sleep=self._sleep_mode)
                    self._asleep = True
            on_failure.pop_all()
        return True

    async def wake(self, now: bool) -> bool:
        """Undo one `sleep`. Returns whether it was woken: `now`, unless others want it asleep, else by a request."""
        try:
            async with self._turn:
                return now and self._sleepers == 1 and await self.rouse()
        finally:
            self._leave()

    async def rouse(self) -> bool:
        """Wake the server; False if it was awake."""
        if not self._asleep:
            return False
        await self._client.resume(sleep=bool(self._sleep_mode))
        self._asleep = False
        return True

    async def _enter(self) -> None:
        while True:
            await self._wanted.wait()
            async with self._turn:
                if not self._sleepers:
                    await self.rouse()
                    self._asking += 1
                    self._idle.clear()
                    return

    def _leave(self) -> None:
        self._sleepers -= 1
        if not self._sleepers:
            self._wanted.set()
