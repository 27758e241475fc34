"""Who may ask, how much at once, and where the API may listen."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claas.api.guards import is_loopback, require_key_off_loopback
from claas.core.errors import Forbidden
from tests.api.client import error, ok, running, serving, settings
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio

PROTECTED = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("PUT", "/v1/aliases/assistant"),
    ("GET", "/v1/aliases/assistant"),
    ("DELETE", "/v1/aliases/assistant"),
    ("POST", "/tokenize"),
    ("POST", "/v1/score"),
    ("POST", "/v1/rollouts/resolve"),
    ("POST", "/v1/feedback"),
    ("POST", "/v1/lora/init"),
    ("POST", "/v1/lora/import"),
    ("GET", "/v1/lora"),
    ("DELETE", "/v1/lora"),
    ("GET", "/v1/lora/export"),
    ("GET", "/v1/models"),
    ("GET", "/v1/health"),
    ("GET", "/v1/dashboard"),
    ("GET", "/v1/eval"),
    ("GET", "/v1/eval/run"),
    ("GET", "/v1/bench"),
    ("GET", "/v1/bench/csv"),
    ("GET", "/v1/evaluate"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/nothing"),
    ("GET", "/health/"),
]


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer ü"])
async def test_with_a_key_everything_but_health_and_the_introduction_needs_it(
    tmp_path: Path, engine: FakeEngine, given: str | None
) -> None:
    headers = {} if given is None else {"Authorization": given.encode()}
    async with running(engine, settings(tmp_path), api_key="s3cret") as api:
        for method, path in PROTECTED:
            response = await api.http.request(method, path, headers=headers, json={})
            assert "s3cret" not in error(response, 401)
            pages = ("/v1/dashboard", "/v1/eval", "/v1/eval/run", "/v1/bench", "/v1/bench/csv", "/docs")
            asked = "Basic" if path in pages else "Bearer"
            assert response.headers["www-authenticate"].split()[0] == asked
        for path in ("/", "/health"):
            ok(await api.http.get(path, headers=headers))


async def test_the_holder_of_the_key_is_served(tmp_path: Path, engine: FakeEngine) -> None:
    async with running(engine, settings(tmp_path), api_key="s3cret") as api:
        for scheme in ("Bearer", "bearer"):
            ok(await api.http.get("/v1/models", headers={"Authorization": f"{scheme} s3cret"}))


def basic(password: str, user: str = "me") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def test_a_browser_reads_pages_with_the_key_as_password_and_nothing_else(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with running(engine, settings(tmp_path), api_key="s3cret:ü") as api:
        for path in ("/v1/eval", "/v1/dashboard"):
            assert (await api.http.get(path, headers=basic("s3cret:ü"))).status_code == 200
            for wrong in (basic("s3cret"), basic(""), {"Authorization": "Basic ???"}, {"Authorization": "Basic "}):
                error(await api.http.get(path, headers=wrong), 401)
            error(await api.http.post(path, headers=basic("s3cret:ü")), 401)
        for path in ("/v1/models", "/v1/lora", "/v1/evaluate"):
            error(await api.http.get(path, headers=basic("s3cret:ü")), 401)


class Uncompared(bytes):
    """Bytes that may not be compared in a way that takes longer the more of them are right."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared with ==")

    def startswith(self, *_: object) -> bool:
        raise AssertionError("compared from its beginning")


class Key(str):
    def encode(self, *_: object) -> bytes:
        return Uncompared(super().encode())


async def test_the_key_is_compared_in_constant_time(tmp_path: Path, engine: FakeEngine) -> None:
    async with running(engine, settings(tmp_path), api_key=Key("s3cret")) as api:
        ok(await api.http.get("/v1/models", headers={"Authorization": "Bearer s3cret"}))
        error(await api.http.get("/v1/models", headers={"Authorization": "Bearer s3cre7"}), 401)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    require_key_off_loopback(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", "localhost.example.org", "127.1"])
def test_any_other_address_needs_a_key(host: str) -> None:
    with pytest.raises(Forbidden, match=f"host={host} .*CLAAS_API_KEY"):
        require_key_off_loopback(host, None)
    require_key_off_loopback(host, "s3cret")


async def test_a_body_beyond_the_bound_is_refused(tmp_path: Path, engine: FakeEngine) -> None:
    async def undeclared() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 100

    async with serving(tmp_path, engine, max_body_bytes=2000) as api:
        assert (await api.chat("x" * 1000)).choices
        assert "2000 bytes" in error(await api.try_chat("x" * 2000), 413)
        response = await api.http.post(
            "/v1/chat/completions", content=undeclared(), headers={"Content-Type": "application/json"}
        )
        assert "2000 bytes" in error(response, 413)
    assert len(engine.sampled) == 1
