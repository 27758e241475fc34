"""Adapters: made, listed, deleted, exported."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from claas.wire.adapters import LoraList, LoraVersion
from tests.api.client import LORA, NAME, error, item, ok, serving
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
        ({"lora_id": LORA, "lora_r": 8}, 409, LORA),
        ({"lora_id": LORA, "seed": 1}, 409, LORA),
        ({"lora_id": "eval-concise"}, 409, "'eval/concise'"),
        ({"lora_id": "eval/concise-latest"}, 409, "a name of 'eval/concise'"),
        ({"lora_id": "eval-concise-init"}, 409, "a name of 'eval/concise'"),
        ({"lora_id": BASE_MODEL}, 409, "base model's name"),
        ({"lora_id": "a", "base_model": "other/model"}, 403, "'other/model'"),
        ({"lora_id": "a", "lora_r": 2}, 422, "lora_r: Input should be greater than or equal to 4, got 2"),
        ({"lora_id": "a", "lora_alpha": 512}, 422, "lora_alpha"),
        ({"lora_id": "a", "rank": 4}, 422, "rank: unknown field, got 4; known: lora_id, base_model, lora_r"),
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


async def test_to_make_an_adapter_again_before_it_has_learnt_makes_nothing(tmp_path: Path, engine: FakeEngine) -> None:
    body = {"lora_id": "eval/new", "lora_r": 8, "seed": 3}
    async with serving(tmp_path, engine) as api:
        again = [
            ok(await api.http.post("/v1/lora/init", json=body | {"if_trained": each})) for each in ("anew", "refuse")
        ]
        assert again[0] == again[1]
    assert [weights.digest for weights in engine.adapters["eval/new"]] == [again[0]["digest"]]


async def test_an_adapter_that_has_learnt_stays_and_a_new_one_gets_an_id_of_its_own(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with serving(tmp_path, engine) as api:

        async def init() -> tuple[str, int]:
            made = ok(await api.http.post("/v1/lora/init", json={"lora_id": LORA}))
            return made["lora_id"], made["version"]

        await api.feedback(item("Hi", await api.said("Hi")))
        learnt = list(engine.adapters[LORA])
        assert [await init(), await init()] == [(f"{LORA}-anew-2", 0)] * 2
        await api.feedback(item("Hi", await api.said("Hi", model=f"{NAME}-anew-2"), lora_id=f"{LORA}-anew-2"))
        assert await init() == (f"{LORA}-anew-3", 0)
        refused = await api.http.post("/v1/lora/init", json={"lora_id": LORA, "if_trained": "refuse"})
        assert "exists already" in error(refused, 409)
    assert engine.adapters[LORA] == learnt


IMPORT = {"lora_id": "team/mine", "config": {"peft_type": "LORA"}, "weights": "AAECAw=="}


async def test_an_adapter_of_others_is_imported_once(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        made = [ok(await api.http.post("/v1/lora/import", json=IMPORT)) for _ in range(2)]
        assert made[0] == made[1]
        assert (made[0]["model"], made[0]["version"]) == ("team-mine@0", 0)
        assert (await api.chat("Hi", model="team-mine")).model == "team-mine@0"
        other = await api.http.post("/v1/lora/import", json=IMPORT | {"weights": "AAEC"})
        assert "exists already" in error(other, 409)
    assert len(engine.adapters["team/mine"]) == 1


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"weights": "%%%%"}, 422, "weights must be a safetensors file in base64"),
        ({"weights": "AAE"}, 422, "weights must be a safetensors file in base64"),
        ({"weights": "/etc/passwd"}, 422, "weights must be a safetensors file in base64"),
        ({"config": "adapter_config.json"}, 422, "config"),
        ({"checkpoint": "tinker://run/weights/final"}, 422, "give config and weights, or a checkpoint and neither"),
        ({"weights": None}, 422, "give config and weights, or a checkpoint and neither"),
        (
            {"weights": None, "config": None, "checkpoint": "tinker://run/weights/final"},
            422,
            "checkpoint: there are none with mode=local; give config and weights",
        ),
        ({"folder": "/etc"}, 422, "folder: unknown field"),
        ({"lora_id": "../x"}, 422, "invalid adapter id"),
        ({"lora_id": BASE_MODEL}, 409, "base model's name"),
        ({"weights": "A" * 5_000_000}, 413, "raise max_body_bytes"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_an_adapter_that_cannot_be_imported_is_refused(
    tmp_path: Path, engine: FakeEngine, changed: dict[str, Any], status: int, said: str
) -> None:
    async with serving(tmp_path, engine) as api:
        assert said in error(await api.http.post("/v1/lora/import", json=IMPORT | changed), status)
    assert list(engine.adapters) == [LORA]


@pytest.mark.parametrize("ending", ["-latest", "-init"])
async def test_an_adapter_is_known_by_its_second_names(tmp_path: Path, engine: FakeEngine, ending: str) -> None:
    async with serving(tmp_path, engine) as api:
        reply = await api.chat("Hi", model=NAME + ending)
        assert reply.model == f"{NAME}@0"
        receipt = await api.feedback(item("Hi", reply.choices[0], lora_id=LORA + ending))
        assert (receipt.lora_id, receipt.version) == (LORA, 1)
        assert (await api.chat("Hi", model=f"{NAME}{ending}@0")).model == f"{NAME}@0"
        exported = await api.http.get("/v1/lora/export", params={"lora_id": LORA + ending})
        assert exported.headers["ETag"] == f'"{engine.adapters[LORA][1].digest}"'
        deleted = await api.http.delete("/v1/lora", params={"lora_id": LORA + ending})
        assert "say lora_id=eval/concise" in error(deleted, 409)
        assert len(engine.adapters[LORA]) == 2


async def test_an_adapter_of_that_very_id_comes_before_a_second_name(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        await api.init("team/a-latest")
        await api.init("team/a")
        reply = await api.chat("Hi", model="team-a-latest")
        assert reply.model == "team-a-latest@0"
        receipt = await api.feedback(item("Hi", reply.choices[0], lora_id="team/a-latest"))
        assert receipt.lora_id == "team/a-latest"
        ok(await api.http.delete("/v1/lora", params={"lora_id": "team/a-latest"}))
        assert (await api.chat("Hi", model="team-a-latest")).model == "team-a@0"


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
    assert everything.loras == [LORA, "team/a"]
    assert [(lora.lora_id, lora.version) for lora in everything.adapters] == [(LORA, 1), ("team/a", 0)]
    assert [lora.model for lora in some.adapters] == ["eval-concise@1"]
    assert some.adapters[0].digest == engine.adapters[LORA][1].digest


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
