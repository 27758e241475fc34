"""The alias that a gateway is configured with: it means one version at a time, for as long as that one is asked."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from claas.eval.stack import Adapter
from claas.eval.stacks.http_client import HttpClient
from claas.eval.stacks.weights import require_weights
from claas.wire.aliases import Alias, AliasRequest


class GatewayAlias:
    """Points the alias `name` of an API at whatever version is asked next.

    A gateway with a fixed model id cannot say which version it wants, so answers of one version may be under way
    together, and those of another wait until all of them have come: in order of arrival, so that none waits for ever.
    """

    def __init__(self, client: HttpClient, name: str) -> None:
        self.name = name
        self._client = client
        self._queue = asyncio.Lock()
        self._nobody_inside = asyncio.Event()
        self._nobody_inside.set()
        self._inside = 0
        self._model: str | None = None

    @asynccontextmanager
    async def pointing_at(self, adapter: Adapter) -> AsyncGenerator[None, None]:
        """Inside, the alias means exactly this version. Set anew for whoever comes first, in case others set it."""
        async with self._queue:
            if self._model != adapter.model:
                await self._nobody_inside.wait()
            if self._inside == 0:
                await self._point_at(adapter)
            self._inside += 1
            self._nobody_inside.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._nobody_inside.set()

    async def _point_at(self, adapter: Adapter) -> None:
        self._model = None
        found = await self._client.put(f"/v1/aliases/{self.name}", AliasRequest(target=adapter.model), Alias)
        require_weights(adapter, found.model, found.digest)
        self._model = adapter.model
