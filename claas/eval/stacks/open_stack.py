"""Which stack a run talks to: a live API at `claas_url`, or one hosted in this process."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from claas.core.errors import InvalidInput
from claas.eval.stack import Stack
from claas.eval.stacks.embedded import hosted, require_hostable
from claas.eval.stacks.http_stack import connect
from claas.eval.types import EvalConfig


@asynccontextmanager
async def open_stack(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Stack, None]:
    """The stack of a resolved `config`; one that is hosted here keeps its adapters and receipts in `store_dir`."""
    if config.claas_url is not None:
        async with connect(config.claas_url, config) as stack:
            yield stack
    else:
        async with hosted(config, store_dir) as stack:
            yield stack


def check_stack(config: EvalConfig) -> None:
    """Refuse a mode or addresses that cannot work, before anything is started or written."""
    if config.openclaw_url is not None:
        raise InvalidInput(
            f"openclaw_url={config.openclaw_url}: chat through an OpenClaw gateway is not supported yet; leave "
            "openclaw_url out to chat with the CLaaS API itself"
        )
    if config.claas_url is not None:
        _check_url("claas_url", config.claas_url)
    else:
        require_hostable(config.mode)


def _check_url(name: str, value: str) -> None:
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{name} is not an address: {error}; give one like http://127.0.0.1:8080") from error
    if url.userinfo:
        raise InvalidInput(f"{name} must not carry a key, which would be written to files; set CLAAS_API_KEY instead")
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInput(f"{name} must be an address like http://127.0.0.1:8080, got {value!r}")
