"""Engines on the shipped weights: the base model is loaded once, every test has a store of its own."""

from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if any(find_spec(package) is None for package in ("torch", "transformers", "peft", "safetensors")):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def base() -> Any:
    from claas.core.settings import EMBEDDED
    from claas.engines.local.model import LoadedModel

    return LoadedModel.load(EMBEDDED)


@pytest.fixture
async def open_engine(base: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Opens engines, by default on this test's store, and closes them at its end."""
    from claas.engines.local.engine import LocalEngine
    from claas.engines.local.versions import LocalStore

    opened: list[LocalEngine] = []

    def open_one(
        root: Path = tmp_path / "adapters", max_batch_rows: int = 32, lock_timeout_s: float = 60.0
    ) -> LocalEngine:
        store = LocalStore(root)
        engine = LocalEngine(base, store, max_batch_rows=max_batch_rows, lock_timeout_s=lock_timeout_s)
        opened.append(engine)
        return engine

    yield open_one
    for engine in opened:
        await engine.close()


@pytest.fixture
def engine(open_engine: Callable[..., Any]) -> Any:
    return open_engine()
