"""A web page cannot drive an API on its visitor's machine: not from its own origin, not by pointing its name there."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.api.app import create_app
from tests.api.client import LORA, error, ok, serving, settings
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio

CHAT = b'{"model": "fake-base", "messages": [{"role": "user", "content": "Hi"}]}'
INIT = b'{"lora_id": "evil/adapter"}'
SIMPLE = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", None]
"""What a page may send to a stranger without asking first."""


def addressed(engine: FakeEngine, folder: Path) -> httpx.AsyncClient:
    app = create_app(engine, settings(folder))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080")


@pytest.mark.parametrize("content_type", SIMPLE)
async def test_a_body_that_is_not_declared_as_json_is_not_read(
    tmp_path: Path, engine: FakeEngine, content_type: str | None
) -> None:
    headers = {"Origin": "https://evil.example"} | ({} if content_type is None else {"Content-Type": content_type})
    async with serving(tmp_path, engine) as api:
        for path, body in (("/v1/chat/completions", CHAT), ("/v1/lora/init", INIT), ("/v1/feedback", b"{}")):
            error(await api.http.post(path, content=body, headers=headers), 422)
    assert list(engine.adapters) == [LORA]
    assert engine.sampled == []


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
async def test_a_browser_that_asks_whether_it_may_is_told_no(tmp_path: Path, method: str) -> None:
    asked = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type",
    }
    async with serving(tmp_path) as api:
        for path in ("/v1/chat/completions", "/v1/feedback", "/v1/lora", "/v1/lora/init", "/v1/dashboard"):
            response = await api.http.options(path, headers=asked)
            error(response, 405)
            assert not [name for name in response.headers if name.startswith("access-control")]
        reply = await api.http.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "10.0.0.7:8080",
        "[2001:db8::1]:80",
        "",
        "\t",
        "localhost:8080:evil",
        "localhost:evil",
        "127.0.0.1:80@evil.example",
        "localhost@evil.example",
        "[::1]evil.example",
        "[::1",
        "::1",
    ],
)
async def test_a_request_to_a_name_that_is_not_this_machines_is_refused(
    tmp_path: Path, engine: FakeEngine, host: str
) -> None:
    async with addressed(engine, tmp_path) as http:
        for path in ("/", "/v1/models", "/v1/dashboard"):
            assert repr(host) in error(await http.get(path, headers={"Host": host}), 403)
        error(await http.post("/v1/lora/init", json={"lora_id": "a"}, headers={"Host": host}), 403)
    assert not engine.adapters


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.8.8.8"]
)
async def test_a_request_to_this_machine_is_served(tmp_path: Path, engine: FakeEngine, host: str) -> None:
    async with addressed(engine, tmp_path) as http:
        ok(await http.get("/v1/models", headers={"Host": host}))


async def test_one_good_name_does_not_cover_for_a_bad_one(tmp_path: Path, engine: FakeEngine) -> None:
    twice: Any = [("Host", "127.0.0.1"), ("Host", "evil.example")]
    async with addressed(engine, tmp_path) as http:
        error(await http.get("/v1/models", headers=twice), 403)
