"""Connections to one server in several pools, so that many requests at once cost no more than few."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import httpx

_CONNECTIONS_A_POOL = 8
"""A pool of httpx looks at each of its connections whenever a request begins or ends: 128 in one of them take longer
than 16."""


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
        certificates = httpx.create_ssl_context()
        self._pools = [
            httpx.AsyncClient(
                base_url=base_url,
                transport=transport,
                verify=certificates,
                timeout=timeout,
                headers=headers,
                trust_env=proxies,
                limits=httpx.Limits(max_connections=_CONNECTIONS_A_POOL, max_keepalive_connections=_CONNECTIONS_A_POOL),
            )
            for _ in range(count)
        ]
        self._free = asyncio.LifoQueue[httpx.AsyncClient]()
        for request in range(most):
            self._free.put_nowait(self._pools[request % count])

    @property
    def requests(self) -> httpx.AsyncClient:
        """What makes a request that any of the pools can send."""
        return self._pools[0]

    @asynccontextmanager
    async def free(self) -> AsyncGenerator[httpx.AsyncClient]:
        """A pool with room for a request, as soon as there is one."""
        pool = await self._free.get()
        try:
            yield pool
        finally:
            self._free.put_nowait(pool)

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            await pool.aclose()
