"""What the API's tests share."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.server_process import served
from tests.fakes.engine import FakeEngine

SERVER_KEY = "s3cret"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path / "engine")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of `python -m claas.api` in a process of its own, with its key; one server for all who ask."""
    pytest.importorskip("torch")
    headers = {"Authorization": f"Bearer {SERVER_KEY}"}
    folder = tmp_path_factory.mktemp("server")
    with served(folder, CLAAS_API_KEY=SERVER_KEY) as (_, url), httpx.Client(base_url=url, headers=headers) as http:
        http.timeout = httpx.Timeout(60)
        yield http
