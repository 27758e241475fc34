"""Which stack a run talks to: a live API at `claas_url`, through a gateway or not, or one hosted in this process."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from claas.core.errors import InvalidInput
from claas.core.secrets import API_KEY_VARIABLE, TOKEN_VARIABLE
from claas.eval.stack import Stack
from claas.eval.stacks.embedded import hosted, require_hostable
from claas.eval.stacks.gateway_stack import connect_through
from claas.eval.stacks.http_stack import connect
from claas.eval.types import EvalConfig


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
        _check_url("openclaw_url", config.openclaw_url, TOKEN_VARIABLE)
        if config.claas_url is None:
            raise InvalidInput(
                "openclaw_url needs claas_url, the address of the API that the gateway asks: an API in this process "
                "has none; start one with: python -m claas.api"
            )
        _token()
    if config.claas_url is not None:
        _check_url("claas_url", config.claas_url, API_KEY_VARIABLE)
    else:
        require_hostable(config.mode)


def _token() -> str:
    """The gateway's bearer token, which stands in the environment and nowhere else."""
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        raise InvalidInput(f"openclaw_url needs the gateway's token: set {TOKEN_VARIABLE} to it")
    return token


def _check_url(name: str, value: str, key_variable: str) -> None:
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{name} is not an address: {error}; give one like http://127.0.0.1:8080") from error
    if url.userinfo:
        raise InvalidInput(f"{name} must not carry a key, which would be written to files; set {key_variable} instead")
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInput(f"{name} must be an address like http://127.0.0.1:8080, got {value!r}")
