"""The Modal engine and Modal's own package, against a service of the same wire on loopback that runs our app."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if any(find_spec(package) is None for package in ("modal", "torch", "transformers", "peft")):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    from tests.fakes.modal_service import running_modal

    with running_modal(monkeypatch, tmp_path / "volume") as fake:
        yield fake


@pytest.fixture
def open_modal(fake: Any, tmp_path: Path) -> Callable[..., Awaitable[Any]]:
    """Opens engines that ask this test's app."""
    from claas.engines.modal.engine import ModalEngine

    async def open_one(base_model: str = "claas-tiny", **settings: Any) -> ModalEngine:
        chosen = {"timeout_s": 60.0, **settings}
        return await asyncio.to_thread(lambda: ModalEngine.open("claas", base_model, tmp_path / "here", **chosen))

    return open_one
