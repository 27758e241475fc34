"""Aliases: a fixed name for changing weights, told by digest, never mistaken for another name, kept over a restart."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.engines.types import AdapterSpec, Weights
from tests.api.client import LORA, NAME, Api, error, item, ok, serving
from tests.fakes.engine import BASE_MODEL, FakeEngine

pytestmark = pytest.mark.anyio


async def put(api: Api, target: str, name: str = "house") -> httpx.Response:
    return await api.http.put(f"/v1/aliases/{name}", json={"target": target})


async def names(api: Api) -> list[str]:
    return [model["id"] for model in ok(await api.http.get("/v1/models"))["data"]]


async def test_an_alias_answers_with_the_true_version_and_digest(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        first, second = engine.adapters[LORA][0], None
        alias = ok(await put(api, NAME))
        assert alias == {"alias": "house", "target": NAME, "model": first.name, "digest": first.digest}
        reply = await api.chat(model="house")
        assert (reply.model, reply.system_fingerprint) == (first.name, first.digest)
        body = {"model": "house", "messages": [{"role": "user", "content": "Hi"}], "completion": "Hello"}
        scored = ok(await api.http.post("/v1/score", json=body))
        assert (scored["model"], scored["system_fingerprint"]) == (first.name, first.digest)
        await api.feedback(item("Hi", reply.choices[0]))
        second = engine.adapters[LORA][1]
        assert (await api.chat(model="house")).system_fingerprint == second.digest
        assert ok(await api.http.get("/v1/aliases/house")) == alias | {"model": second.name, "digest": second.digest}
        assert ok(await api.http.get("/v1/models/house"))["id"] == "house"


@pytest.mark.parametrize(("target", "model"), [(f"{NAME}@0", f"{NAME}@0"), (LORA, f"{NAME}@1"), (BASE_MODEL,) * 2])
async def test_an_alias_can_pin_a_version_or_mean_the_base_model(tmp_path: Path, target: str, model: str) -> None:
    async with serving(tmp_path) as api:
        await api.feedback(item("Hi", await api.said("Hi")))
        ok(await put(api, target))
        assert (await api.chat(model="house")).model == model


async def test_an_alias_can_be_moved_and_removed(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        for target in (NAME, BASE_MODEL):
            ok(await put(api, target))
        assert (await api.chat(model="house")).model == BASE_MODEL
        assert await names(api) == [BASE_MODEL, NAME, "house"]
        deleted = [ok(await api.http.delete("/v1/aliases/house")) for _ in range(2)]
        assert deleted == [{"deleted": True}, {"deleted": False}]
        assert await names(api) == [BASE_MODEL, NAME]
        assert "'house'" in error(await api.try_chat(model="house"), 404)
        assert error(await api.http.get("/v1/aliases/house"), 404) == "no alias 'house'; known: none"


@pytest.mark.parametrize(
    ("name", "target", "status", "said"),
    [
        (NAME, BASE_MODEL, 409, "choose another alias"),
        (f"{NAME}-latest", BASE_MODEL, 409, "choose another alias"),
        (f"{NAME}-init", NAME, 409, "choose another alias"),
        (BASE_MODEL, NAME, 409, "choose another alias"),
        ("house", "nobody", 404, "unknown model 'nobody'"),
        ("house", f"{NAME}@9", 404, "no version 9"),
        ("house", "", 422, "target"),
        ("second", "first", 409, "'first' is an alias itself"),
        (f"{NAME}@1", NAME, 422, "invalid alias"),
        ("a%2Fb", NAME, 404, "Not Found"),
        ("..%2F..", NAME, 404, "Not Found"),
        (".hidden", NAME, 422, "invalid alias"),
        ("a b", NAME, 422, "invalid alias"),
        ("x" * 201, NAME, 422, "invalid alias"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_an_alias_that_cannot_be_is_refused(
    tmp_path: Path, name: str, target: str, status: int, said: str
) -> None:
    async with serving(tmp_path) as api:
        ok(await put(api, NAME, "first"))
        assert said in error(await put(api, target, name), status)
        assert await names(api) == [BASE_MODEL, NAME, "first"]
        assert (await api.chat(model=NAME)).model == f"{NAME}@0"


@pytest.mark.parametrize("alias", ["my-house", "my-house-latest", "my-house-init"])
async def test_an_adapter_cannot_take_an_aliass_name(tmp_path: Path, engine: FakeEngine, alias: str) -> None:
    async with serving(tmp_path, engine) as api:
        ok(await put(api, NAME, alias))
        made = await api.http.post("/v1/lora/init", json={"lora_id": "my/house"})
        assert f"{alias!r}, which is an alias" in error(made, 409)
    assert list(engine.adapters) == [LORA]


async def test_an_alias_and_an_adapter_made_at_once_cannot_share_a_name(tmp_path: Path) -> None:
    class Slow(FakeEngine):
        async def init_adapter(self, spec: AdapterSpec) -> Weights:
            await asyncio.sleep(0.05)
            return await super().init_adapter(spec)

    async with serving(tmp_path, Slow(tmp_path / "engine")) as api:
        making = asyncio.create_task(api.http.post("/v1/lora/init", json={"lora_id": "my/house"}))
        await asyncio.sleep(0.02)
        assert "choose another alias" in error(await put(api, NAME, "my-house"), 409)
        ok(await making)


async def test_an_alias_of_a_deleted_adapter_says_so_until_it_is_set_anew(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        ok(await put(api, NAME))
        ok(await api.http.delete("/v1/lora", params={"lora_id": LORA}))
        for response in (await api.try_chat(model="house"), await api.http.get("/v1/aliases/house")):
            assert error(response, 404).startswith(f"alias 'house' means '{NAME}', which is gone")
        assert await names(api) == [BASE_MODEL]
        ok(await put(api, BASE_MODEL))
        assert (await api.chat(model="house")).model == BASE_MODEL


async def test_aliases_outlive_a_restart(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        for name in ("one", "two", "three"):
            ok(await put(api, NAME, name))
        ok(await api.http.delete("/v1/aliases/two"))
    async with serving(tmp_path, engine) as api:
        assert await names(api) == [BASE_MODEL, NAME, "one", "three"]
        assert (await api.chat(model="three")).model == f"{NAME}@0"


@pytest.mark.parametrize(
    ("damaged", "left"),
    [
        (b'{"house": "eval-', []),
        (b"\xff", []),
        (b"[]", []),
        (b'{"house": 3, "one": "eval-concise"}', ["one"]),
        (b'{"../up": "fake-base", "one": "eval-concise", "two": ""}', ["one"]),
        (b'{"house": %s}' % (b"9" * 5000), []),
    ],
)
async def test_what_is_no_alias_is_set_aside_and_the_others_serve(
    tmp_path: Path, engine: FakeEngine, caplog: pytest.LogCaptureFixture, damaged: bytes, left: list[str]
) -> None:
    file = tmp_path / "store" / "aliases.json"
    file.parent.mkdir()
    for attempt, aside in enumerate((file.with_name("aliases.json.bad"), file.with_name("aliases.json.bad2"))):
        file.write_bytes(damaged)
        async with serving(tmp_path, engine) as api:
            assert await names(api) == [BASE_MODEL, NAME, *left]
            ok(await put(api, NAME, "another"))
        assert aside.read_bytes() == damaged
        assert str(aside) in caplog.messages[attempt]
    async with serving(tmp_path, engine) as api:
        assert await names(api) == [BASE_MODEL, NAME, "another", *left]


async def test_a_model_that_is_none_is_not_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        known: dict[str, Any] = {
            name: ok(await api.http.get(f"/v1/models/{name}"))["id"] for name in (LORA, f"{NAME}@0")
        }
        assert known == {LORA: LORA, f"{NAME}@0": f"{NAME}@0"}
        error(await api.http.get("/v1/models/nobody"), 404)
