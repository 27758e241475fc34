"""What the API's tests share."""

import signal
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
    """A client of `python -m claas.api` in a process of its own, with its key; one server for all who ask.

    Whatever they did to it, it ends in order and has written nothing to its log.
    """
    pytest.importorskip("torch")
    headers = {"Authorization": f"Bearer {SERVER_KEY}"}
    folder = tmp_path_factory.mktemp("server")
    with served(folder, CLAAS_API_KEY=SERVER_KEY) as (process, url):
        with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
            yield http
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
