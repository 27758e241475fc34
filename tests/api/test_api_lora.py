"""Adapters: made, listed, deleted, exported."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from claas.wire.adapters import LoraList, LoraVersion
from tests.api.client import LORA, error, item, ok, serving
from tests.fakes.engine import BASE_MODEL, FakeEngine

pytestmark = pytest.mark.anyio

ESCAPING = ["../x", "/etc/passwd", "a/../b", "a//b", ".hidden", "a/.b", "a\\b", "", "a b", "a/", "x" * 201, "a\0b"]


async def test_a_new_adapter_begins_at_version_0(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        body = {"lora_id": "eval/new", "base_model": BASE_MODEL, "lora_r": 8, "lora_alpha": 16}
        made = LoraVersion.model_validate(ok(await api.http.post("/v1/lora/init", json=body)))
    digest = engine.adapters["eval/new"][0].digest
    assert made == LoraVersion(lora_id="eval/new", version=0, digest=digest, model="eval-new@0")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"lora_id": LORA}, 409, LORA),
        ({"lora_id": "eval-concise"}, 409, "'eval/concise'"),
        ({"lora_id": BASE_MODEL}, 409, "base model's name"),
        ({"lora_id": "a", "base_model": "other/model"}, 403, "'other/model'"),
        ({"lora_id": "a", "lora_r": 2}, 422, "lora_r: Input should be greater than or equal to 4, got 2"),
        ({"lora_id": "a", "lora_alpha": 512}, 422, "lora_alpha"),
        ({"lora_id": "a", "rank": 4}, 422, "rank: Extra inputs are not permitted, got 4"),
        ({}, 422, "lora_id: Field required"),
    ],
    ids=str,
)
async def test_an_adapter_that_cannot_be_made_is_refused(
    tmp_path: Path, engine: FakeEngine, body: dict[str, Any], status: int, said: str
) -> None:
    async with serving(tmp_path, engine) as api:
        assert said in error(await api.http.post("/v1/lora/init", json=body), status)
    assert list(engine.adapters) == [LORA]


@pytest.mark.parametrize("lora_id", ESCAPING, ids=repr)
async def test_ids_that_could_leave_the_store_are_refused_everywhere(
    tmp_path: Path, engine: FakeEngine, lora_id: str
) -> None:
    async with serving(tmp_path, engine) as api:
        feedback = {"lora_id": lora_id, "prompt": "a", "response": "b", "feedback": "c"}
        refused = [
            await api.http.post("/v1/lora/init", json={"lora_id": lora_id}),
            await api.http.delete("/v1/lora", params={"lora_id": lora_id}),
            await api.http.get("/v1/lora/export", params={"lora_id": lora_id}),
            await api.try_feedback(feedback),
        ]
    for response in refused:
        assert "invalid adapter id" in error(response, 422)
    assert list(engine.adapters) == [LORA]


async def test_adapters_are_listed_by_prefix_at_their_newest_version(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        await api.init("team/a")
        await api.feedback(item("Hi", await api.said("Hi")))
        everything = LoraList.model_validate(ok(await api.http.get("/v1/lora")))
        some = LoraList.model_validate(ok(await api.http.get("/v1/lora", params={"prefix": "eval/"})))
    assert [(lora.lora_id, lora.version) for lora in everything.loras] == [(LORA, 1), ("team/a", 0)]
    assert [lora.model for lora in some.loras] == ["eval-concise@1"]
    assert some.loras[0].digest == engine.adapters[LORA][1].digest


async def test_deleting_twice_is_no_error(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        deleted = [ok(await api.http.delete("/v1/lora", params={"lora_id": LORA})) for _ in range(2)]
    assert deleted == [{"deleted": True}, {"deleted": False}]
    assert engine.adapters == {}


async def test_an_export_holds_exactly_what_peft_loads(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        await api.feedback(item("Hi", await api.said("Hi")))
        newest = await api.http.get("/v1/lora/export", params={"lora_id": LORA})
        first = await api.http.get("/v1/lora/export", params={"lora_id": LORA, "version": 0})
    assert newest.headers["content-type"] == "application/zip"
    assert newest.headers["content-disposition"] == 'attachment; filename="eval-concise-v1.zip"'
    for response, version in ((newest, 1), (first, 0)):
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            assert sorted(archive.namelist()) == ["adapter_config.json", "adapter_model.safetensors"]
            assert archive.read("adapter_model.safetensors").decode() == engine.adapters[LORA][version].digest


async def test_a_large_export_arrives_whole(tmp_path: Path) -> None:
    weights = bytes(range(256)) * 4 * 1024 * 12  # 12 MiB: beyond what is held in memory

    class Large(FakeEngine):
        async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
            directory = await super().export_adapter(lora_id, version)
            (directory / "adapter_model.safetensors").write_bytes(weights)
            return directory

    async with serving(tmp_path, Large(tmp_path / "engine")) as api:
        response = await api.http.get("/v1/lora/export", params={"lora_id": LORA})
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.read("adapter_model.safetensors") == weights


@pytest.mark.parametrize(
    ("params", "status"),
    [({"lora_id": "nobody"}, 404), ({"lora_id": LORA, "version": 5}, 404), ({"lora_id": LORA, "version": -1}, 422)],
    ids=str,
)
async def test_what_does_not_exist_cannot_be_exported(tmp_path: Path, params: dict[str, Any], status: int) -> None:
    async with serving(tmp_path) as api:
        error(await api.http.get("/v1/lora/export", params=params), status)


async def test_an_adapter_deleted_meanwhile_is_not_found(tmp_path: Path) -> None:
    class Vanishing(FakeEngine):
        async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
            return self.directory / "gone"

    async with serving(tmp_path, Vanishing(tmp_path / "engine")) as api:
        assert "deleted" in error(await api.http.get("/v1/lora/export", params={"lora_id": LORA}), 404)
