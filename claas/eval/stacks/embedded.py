"""The real API, hosted in this process: the same app and the same wire, without a socket."""

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
from claas.api.engine import open_engine, require_startable
from claas.core.secrets import API_KEY_VARIABLE
from claas.eval.stacks.http_stack import HttpStack, connect
from claas.eval.types import EvalConfig

_ADDRESS = "http://localhost"
_log = logging.getLogger(__name__)


@asynccontextmanager
async def hosted(config: EvalConfig, store_dir: Path) -> AsyncGenerator[HttpStack, None]:
    """The API of `config.mode`, with adapters, rollouts and receipts in `store_dir`, so that a run can continue."""
    settings = ApiConfig(
        mode=config.mode,
        base_model=config.base_model,
        store_dir=str(store_dir),
        feedback_log_dir=str(store_dir / "feedback"),
    )
    async with _running(settings) as app:
        # A bug in the app becomes an HTTP 500, as it would on a socket, and its traceback goes to the log.
        transport = httpx.ASGITransport(app=_logged(app), raise_app_exceptions=False)
        async with connect(_ADDRESS, config, transport=transport) as stack:
            yield stack


def require_hostable(mode: str) -> None:
    """Raise `InvalidInput` on a mode whose API cannot be hosted here."""
    require_startable(mode)


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
