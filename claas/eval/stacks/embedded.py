"""The embedded stack: the API of a mode hosted in this process, and requests to it."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.api.modes import open_engine
from claas.core.settings import API_KEY_VARIABLE
from claas.eval.stacks.http_client import HttpClient, Retries
from claas.eval.stacks.http_stack import api_client
from claas.results.settings import EvalConfig

_ADDRESS = "http://localhost"
_HICCUP_S = 4.0
"""How long an engine of this process or this machine is tried again: what lasts longer does not mend itself."""

_MOST_BYTES = 4 * 2**30
"""Of a body for an API in this process, whose one client may bring it an adapter."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def hosted_client(config: EvalConfig, store_dir: Path) -> AsyncGenerator[HttpClient, None]:
    """Requests to the API of `config.mode`, with adapters, rollouts and receipts in `store_dir`."""
    async with _running(api_config(config, store_dir)) as app:
        # A bug in the app becomes an HTTP 500, as it would on a socket, and its traceback goes to the log.
        transport = httpx.ASGITransport(app=_logged(app), raise_app_exceptions=False)
        patience_s = min(config.retry_for_s, _HICCUP_S) if config.mode in ("local", "vllm") else config.retry_for_s
        retries = Retries(for_s=patience_s)
        async with api_client(_ADDRESS, config, transport=transport, retries=retries) as client:
            yield client


def api_config(config: EvalConfig, store_dir: Path) -> ApiConfig:
    """What a run says of the API that it hosts."""
    return ApiConfig(
        mode=config.mode,
        base_model=config.base_model,
        dtype=config.dtype,
        store_dir=str(store_dir),
        feedback_log_dir=str(store_dir / "feedback"),
        max_body_bytes=_MOST_BYTES,
    )


@asynccontextmanager
async def _running(settings: ApiConfig) -> AsyncGenerator[FastAPI, None]:
    async with AsyncExitStack() as unless_owned:
        engine = await asyncio.to_thread(open_engine, settings)
        unless_owned.push_async_callback(engine.close)
        app = create_app(engine, settings, api_key=os.environ.get(API_KEY_VARIABLE))
        unless_owned.pop_all()
    async with app.router.lifespan_context(app):  # closes the engine at its end
        yield app


def _logged(app: ASGIApp) -> ASGIApp:
    async def logging_app(scope: Scope, receive: Receive, send: Send) -> None:
        with _Logged(str(scope["path"])):
            await app(scope, receive, send)

    return logging_app


class _Logged:
    """Writes what escapes the app to the log, as a server does, and lets it go on."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, Exception):
            _log.error("the embedded API failed on %s", self._path, exc_info=error)
