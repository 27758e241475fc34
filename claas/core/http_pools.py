"""Connections to one server in several pools, so that many requests at once cost no more than few."""

import asyncio
import functools
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import httpx

_CONNECTIONS_A_POOL = 8
"""A pool of httpx looks at each of its connections whenever a request begins or ends: 128 in one of them take longer
than 16."""


@functools.cache
def _certificates() -> ssl.SSLContext:
    """What is trusted, which takes as long to load as a hundred requests."""
    return httpx.create_ssl_context()


class HttpPools:
    """At most `most` requests to `base_url` in flight; `transport` takes the place of sockets, in one pool.

    `proxies`: whether those that the environment names are used.
    """

    def __init__(
        self,
        base_url: str,
        most: int,
        timeout: httpx.Timeout,
        headers: Mapping[str, str],
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        proxies: bool = True,
    ) -> None:
        count = 1 if transport is not None else -(-most // _CONNECTIONS_A_POOL)
        self._pools = [
            httpx.AsyncClient(
                base_url=base_url,
                transport=transport,
                verify=_certificates(),
                timeout=timeout,
                headers=headers,
                trust_env=proxies,
                limits=httpx.Limits(max_connections=_CONNECTIONS_A_POOL, max_keepalive_connections=_CONNECTIONS_A_POOL),
            )
            for _ in range(count)
        ]
        self._free = [self._pools[request % count] for request in range(most)]  # the one used last is the next
        self._urgent = deque[asyncio.Future[httpx.AsyncClient]]()
        self._waiting = deque[asyncio.Future[httpx.AsyncClient]]()

    @property
    def requests(self) -> httpx.AsyncClient:
        """What makes a request that any of the pools can send."""
        return self._pools[0]

    @asynccontextmanager
    async def free(self, *, urgent: bool = False) -> AsyncGenerator[httpx.AsyncClient]:
        """A pool with room for a request, as soon as there is one: in the order of asking, urgent requests first."""
        pool = self._free.pop() if self._free else await self._turn(self._urgent if urgent else self._waiting)
        try:
            yield pool
        finally:
            self._give_back(pool)

    async def _turn(self, line: deque[asyncio.Future[httpx.AsyncClient]]) -> httpx.AsyncClient:
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(turn.result())
            raise

    def _give_back(self, pool: httpx.AsyncClient) -> None:
        for line in (self._urgent, self._waiting):
            while line:
                turn = line.popleft()
                if not turn.done():
                    turn.set_result(pool)
                    return
        self._free.append(pool)

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            await pool.aclose()
