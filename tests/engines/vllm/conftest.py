"""The vLLM engine against a peer of the same wire on loopback, which computes with the real model."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if any(find_spec(package) is None for package in ("torch", "transformers", "peft", "safetensors")):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def fake(base: Any) -> Iterator[Any]:
    from tests.fakes.vllm_server import FakeVllm, vllm_server

    with vllm_server(FakeVllm(base)) as fake:
        yield fake


@pytest.fixture
async def open_vllm(fake: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Opens engines on this test's store and server, and closes them."""
    from claas.api.config import ApiConfig
    from claas.engines.vllm.engine import VllmEngine

    opened: list[VllmEngine] = []

    async def open_one(**settings: Any) -> VllmEngine:
        chosen = {"vllm_url": fake.url, "store_dir": str(tmp_path / "store"), "check_model": False, **settings}
        engine = await asyncio.to_thread(VllmEngine.open, ApiConfig(mode="vllm", **chosen))
        opened.append(engine)
        return engine

    yield open_one
    fake.statuses.clear()
    for engine in opened:
        await engine.close()
