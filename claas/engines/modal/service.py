"""The deployed app, through Modal's package: every call bounded in time, its failures as ours."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import aiohttp
import modal

from claas.core.errors import StackError
from claas.engines.modal.crossing import packed, result, source
from claas.engines.modal.failures import failure

T = TypeVar("T")

REMOTE = "Remote"
"""The name of the class that the app hosts the engine in."""

_LOOK_UP_S = 30.0
_SDK_ERRORS = (modal.Error, aiohttp.ClientError, OSError, RuntimeError, ValueError)


class Service:
    """One app. `base_model` is what it is expected to serve."""

    def __init__(self, app: str, base_model: str, timeout_s: float) -> None:
        self.app = app
        self._base_model = base_model
        self._timeout_s = timeout_s
        self._remote: Any = None

    async def look_up(self) -> Any:
        """Find the app as it is deployed now, which starts no container. Raises `StackError` where it is not."""
        found = modal.Cls.from_name(self.app, REMOTE)
        bound_s = min(_LOOK_UP_S, self._timeout_s)
        late = f"Modal did not answer within {bound_s:g} s; run the same command again when it can be reached"
        await self._within("looking up the app", found.hydrate.aio(), bound_s, late)
        self._remote = found()
        return self._remote

    async def call(self, method: str, *arguments: object) -> Any:
        """What the app's engine returns; a stopped app is started by the call. Raises what the engine raises."""
        remote = self._remote or await self.look_up()
        asked = remote.ask.remote.aio(source(), method, packed(arguments))
        late = (
            f"Modal did not finish {method} within {self._timeout_s:g} s; `modal app logs {self.app}` may say why (an "
            "app that was stopped loads its model first); then run the same command again"
        )
        return result(await self._within(method, asked, self._timeout_s, late))

    async def _within(self, what: str, work: Awaitable[T], timeout_s: float, late: str) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                return await work
        except TimeoutError:
            raise StackError(late) from None
        except _SDK_ERRORS as error:
            self._remote = None  # a deployment made meanwhile is found by the next call
            raise failure(what, error, self.app, self._base_model) from error
