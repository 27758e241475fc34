"""The Tinker engine and the real SDK, against a service of the same wire on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if any(find_spec(package) is None for package in ("tinker", "transformers")):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def fake() -> Iterator[Any]:
    from tests.fakes.tinker_service import FakeTinker, tinker_service

    with tinker_service(FakeTinker(["claas-tiny", "Qwen/Qwen3.6-35B-A3B", "Qwen/Qwen3.6-27B"])) as fake:
        yield fake


@pytest.fixture
async def open_tinker(fake: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Opens engines on this test's store and service, and ends their sessions."""
    import asyncio

    from claas.engines.tinker.engine import TinkerEngine
    from tests.engines.tinker.words import completion_ids

    opened: list[TinkerEngine] = []

    async def open_one(base_model: str = "claas-tiny", **settings: Any) -> TinkerEngine:
        chosen = {"key": "tml-secret", "base_url": fake.url, "timeout_s": 20.0, **settings}
        engine = await asyncio.to_thread(lambda: TinkerEngine.open(base_model, tmp_path / "store", **chosen))
        fake.answer = fake.answer or completion_ids("Rain is water that falls from clouds.")
        opened.append(engine)
        return engine

    yield open_one
    fake.statuses.clear()
    fake.hanging, fake.broken = False, None
    for engine in opened:
        await engine.close()
