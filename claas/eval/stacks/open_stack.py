"""The stack that a run asks: a live API, one behind a gateway, or the embedded one, hosted in process."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from claas.api.modes import require_startable
from claas.core.errors import InvalidInput
from claas.core.settings import API_KEY_VARIABLE, TOKEN_VARIABLE
from claas.eval.stacks.gateway_stack import connect_through
from claas.eval.stacks.http_client import HttpClient, require_address
from claas.eval.stacks.http_stack import api_client, connect, stack_of
from claas.eval.stacks.stack import Stack
from claas.results.settings import EvalConfig


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
        async with open_client(config, store_dir) as client:
            yield await stack_of(client, config)


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
async def open_client(config: EvalConfig, store_dir: Path) -> AsyncGenerator[HttpClient, None]:
    """Requests to the API at `claas_url`, else to one hosted here that keeps its adapters in `store_dir`."""
    if config.claas_url is None:
        from claas.eval.stacks.embedded import hosted_client  # only now: a live API is asked without FastAPI

        async with hosted_client(config, store_dir) as client:
            yield client
    else:
        async with api_client(config.claas_url, config) as client:
            yield client


def _token() -> str:
    """The gateway's bearer token, which stands in the environment and nowhere else."""
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        raise InvalidInput(f"openclaw_url needs the gateway's token: set {TOKEN_VARIABLE} to it")
    return token
