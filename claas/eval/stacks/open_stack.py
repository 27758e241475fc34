"""The stack that a run asks: a live API, one behind a gateway, or the embedded one, hosted in process."""

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
from claas.api.services import open_engine, require_startable
from claas.core.errors import InvalidInput
from claas.core.settings import API_KEY_VARIABLE, TOKEN_VARIABLE
from claas.eval.stacks.gateway_stack import connect_through
from claas.eval.stacks.http_client import HttpClient, Retries, require_address
from claas.eval.stacks.http_stack import HttpStack, api_client, connect
from claas.eval.stacks.stack import Stack
from claas.results.settings import EvalConfig

_ADDRESS = "http://localhost"
_HICCUP_S = 4.0
"""How long a local engine in this process is tried again: what lasts longer does not mend itself."""

_MOST_BYTES = 4 * 2**30
"""Of a body for an API in this process, whose one client may bring it an adapter."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_stack(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Stack, None]:
    """The stack of a resolved `config`; one that is hosted here keeps its adapters and receipts in `store_dir`."""
    if config.openclaw_url is not None and config.claas_url is not None:
        async with connect_through(config.openclaw_url, _token(), config.claas_url, config) as stack:
            yield stack
    elif config.claas_url is not None:
        async with connect(config.claas_url, config) as stack:
            yield stack
    else:
        async with hosted(config, store_dir) as stack:
            yield stack


def check_stack(config: EvalConfig) -> None:
    """Refuse a mode or addresses that cannot work, before anything is started or written."""
    if config.openclaw_url is not None:
        require_address("openclaw_url", config.openclaw_url, TOKEN_VARIABLE)
        if config.claas_url is None:
            raise InvalidInput(
                "openclaw_url needs claas_url, the address of the API that the gateway asks: an API in this process "
                "has none; start one with: python -m claas.api"
            )
        _token()
    if config.claas_url is not None:
        require_address("claas_url", config.claas_url, API_KEY_VARIABLE)
    else:
        require_startable(config.mode)


@asynccontextmanager
async def hosted(config: EvalConfig, store_dir: Path) -> AsyncGenerator[HttpStack, None]:
    """The API of `config.mode`, with adapters, rollouts and receipts in `store_dir`, so that a run can continue."""
    async with _hosted_client(config, store_dir) as client:
        yield HttpStack(client, config.chat_template_kwargs)


@asynccontextmanager
async def open_client(config: EvalConfig, store_dir: Path) -> AsyncGenerator[HttpClient, None]:
    """Requests to the API at `claas_url`, else to one hosted here that keeps its adapters in `store_dir`."""
    if config.claas_url is None:
        async with _hosted_client(config, store_dir) as client:
            yield client
    else:
        async with api_client(config.claas_url, config) as client:
            yield client


@asynccontextmanager
async def _hosted_client(config: EvalConfig, store_dir: Path) -> AsyncGenerator[HttpClient, None]:
    settings = ApiConfig(
        mode=config.mode,
        base_model=config.base_model,
        store_dir=str(store_dir),
        feedback_log_dir=str(store_dir / "feedback"),
        max_body_bytes=_MOST_BYTES,
    )
    async with _running(settings) as app:
        # A bug in the app becomes an HTTP 500, as it would on a socket, and its traceback goes to the log.
        transport = httpx.ASGITransport(app=_logged(app), raise_app_exceptions=False)
        patience_s = min(config.retry_for_s, _HICCUP_S) if config.mode == "local" else config.retry_for_s
        retries = Retries(for_s=patience_s)
        async with api_client(_ADDRESS, config, transport=transport, retries=retries) as client:
            yield client


def _token() -> str:
    """The gateway's bearer token, which stands in the environment and nowhere else."""
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        raise InvalidInput(f"openclaw_url needs the gateway's token: set {TOKEN_VARIABLE} to it")
    return token


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
