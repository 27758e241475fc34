"""What may stand between a harness and an API: it sends requests to other weights, lies about it, alters answers."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.eval.runner import OpenStack
from claas.eval.stacks.http_client import Retries
from claas.eval.stacks.http_stack import HttpStack, connect
from claas.results.settings import EvalConfig
from tests.fakes.engine import FakeEngine

Body = dict[str, Any]
Alter = Callable[[Body], Body | httpx.Response]
"""What becomes of the body of a chat completion."""
Reroute = Callable[[str, int], str]
"""Which model answers a request for adapter `name` at `version`."""


def faithful(name: str, version: int) -> str:
    """The version that was asked for."""
    return f"{name}@{version}"


class Proxy(httpx.AsyncBaseTransport):
    """Passes requests on to `inner`, those for an adapter to `reroute(name, version)`, and answers through `alter`.

    With `lies`, replies claim the model that was asked for and its digest, whatever answered.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        engine: FakeEngine,
        reroute: Reroute = faithful,
        alter: Alter = lambda body: body,
        *,
        lies: bool = False,
    ) -> None:
        self._inner, self._engine = inner, engine
        self._reroute, self._alter, self._lies = reroute, alter, lies

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path not in ("/v1/chat/completions", "/v1/score"):
            return await self._inner.handle_async_request(request)
        body = json.loads(request.content)
        asked = body["model"]
        sent = httpx.Request(request.method, request.url, json=body | {"model": self._instead_of(asked)})
        response = await self._inner.handle_async_request(sent)
        found = json.loads(await response.aread())
        if self._lies and response.is_success and "@" in asked:
            found |= {"model": asked, "system_fingerprint": self._digest(asked)}
        altered = self._alter(found) if "choices" in found else found
        return altered if isinstance(altered, httpx.Response) else httpx.Response(response.status_code, json=altered)

    def _instead_of(self, model: str) -> str:
        name, _, version = model.partition("@")
        return self._reroute(name, int(version)) if version else model

    def _digest(self, model: str) -> str | None:
        known = (weights for versions in self._engine.adapters.values() for weights in versions)
        return next((weights.digest for weights in known if weights.name == model), None)


def behind_proxy(engine: FakeEngine, **faults: Any) -> OpenStack:
    """The real API around `engine`, as a run reaches it through a `Proxy` with these faults."""

    @asynccontextmanager
    async def opened(config: EvalConfig, store_dir: Path) -> AsyncGenerator[HttpStack, None]:
        settings = ApiConfig(store_dir=str(store_dir), feedback_log_dir=str(store_dir / "feedback"))
        app = create_app(engine, settings)
        proxy = Proxy(httpx.ASGITransport(app), engine, **faults)
        async with (
            app.router.lifespan_context(app),
            connect("http://localhost", config, transport=proxy, retries=Retries(for_s=0)) as stack,
        ):
            yield stack

    return opened
