"""Adapters on disk: whole or not at all, checked when read, restored by opening the same root."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from claas.core.errors import Conflict, InvalidInput, NotFound, StackError
from claas.engines.local.versions import LocalStore
from claas.engines.types import AdapterSpec
from tests.engines.talk import ask, teach

pytestmark = pytest.mark.anyio

SMALL = AdapterSpec("eval/concise", rank=8, alpha=16)


async def test_opening_the_same_root_restores_everything(open_engine: Any) -> None:
    first = open_engine()
    await first.init_adapter(SMALL)
    update = await teach(first, SMALL.lora_id, "key")
    answer = await ask(first, update.weights, "hi")
    again = open_engine()
    assert await again.list_adapters() == [update.weights]
    assert await ask(again, await again.resolve(SMALL.lora_id), "hi") == answer
    assert await again.resolve(SMALL.lora_id, 0) == await first.resolve(SMALL.lora_id, 0)


async def test_what_a_crash_left_is_removed(engine: Any, open_engine: Any, tmp_path: Path) -> None:
    await engine.init_adapter(SMALL)
    home = tmp_path / "adapters" / "eval-concise"
    for left in (home / ".staged-version", home.parent / ".deleted-x", home.parent / "half-made" / ".staged-version"):
        left.mkdir(parents=True)
        (left / "adapter_model.safetensors").write_bytes(b"half")
    open_engine()
    assert sorted(path.name for path in home.iterdir()) == ["000000"]
    assert [path.name for path in home.parent.iterdir()] == ["eval-concise"]


async def test_a_corrupt_version_is_refused_and_the_others_serve(open_engine: Any) -> None:
    first = open_engine()
    await first.init_adapter(SMALL)
    await teach(first, SMALL.lora_id, "key")
    path = await first.export_adapter(SMALL.lora_id, 1) / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = open_engine()
    with pytest.raises(StackError, match=r"corrupt.*sha256"):
        await ask(again, await again.resolve(SMALL.lora_id), "hi")
    with pytest.raises(StackError, match="corrupt"):
        await teach(again, SMALL.lora_id, "next")
    await ask(again, await again.resolve(SMALL.lora_id, 0), "hi")


async def test_a_missing_file_is_named(open_engine: Any) -> None:
    first = open_engine()
    weights = await first.init_adapter(SMALL)
    (await first.export_adapter(SMALL.lora_id) / "adapter_model.safetensors").unlink()
    with pytest.raises(StackError, match=r"adapter_model\.safetensors is missing"):
        await ask(first, weights, "hi")


async def test_an_adapter_whose_record_cannot_be_read_is_named_and_the_others_serve(
    engine: Any, open_engine: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = [await engine.init_adapter(AdapterSpec(f"other/{name}", rank=8)) for name in "ab"]
    await engine.init_adapter(SMALL)
    home = tmp_path / "adapters" / "eval-concise"
    (home / "000000" / "version.json").write_text("{")
    shutil.copytree(home.with_name("other-a"), home.with_name("copy"))
    shutil.copytree(home.with_name("other-b") / "000000", home.with_name("other-b") / "000000.bak")
    (home.with_name("other-b") / "²").mkdir()
    again = open_engine()
    assert await again.list_adapters() == others
    assert [message.partition(" cannot be read")[0] for message in sorted(caplog.messages)] == [
        str(home.with_name(name) / "000000" / "version.json") for name in ("copy", "eval-concise")
    ]
    for refused in (again.resolve(SMALL.lora_id, 0), teach(again, SMALL.lora_id, "key"), again.resolve("copy")):
        with pytest.raises(StackError, match=r"version\.json cannot be read"):
            await refused
    with pytest.raises(Conflict, match=r"version\.json cannot be read"):
        await again.init_adapter(SMALL)
    assert await again.delete_adapter(SMALL.lora_id)
    assert not home.exists()
    assert (await again.init_adapter(SMALL)).version == 0


async def test_what_an_algorithm_reports_that_is_no_number_can_be_read_again(engine: Any, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "adapters")
    await engine.init_adapter(SMALL)
    record = LocalStore(tmp_path / "adapters").get(SMALL.lora_id)
    with store.staging(SMALL.lora_id):
        store.commit(record.model_copy(update={"version": 1, "metrics": {"loss": math.inf}}))
    assert LocalStore(tmp_path / "adapters").get(SMALL.lora_id).metrics == {"loss": math.inf}


@pytest.mark.parametrize("wrong", ["../up", "/etc", "a/../b", "a//b", ".hidden", "", "a b", "a\n"])
async def test_ids_that_could_leave_the_store_are_refused(engine: Any, wrong: str) -> None:
    for call in (engine.init_adapter(AdapterSpec(wrong)), engine.resolve(wrong), engine.delete_adapter(wrong)):
        with pytest.raises(InvalidInput, match="invalid adapter id"):
            await call


async def test_an_id_or_served_name_that_is_taken_is_a_conflict(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    for other in (replace(SMALL, rank=4), replace(SMALL, alpha=32), replace(SMALL, seed=7)):
        with pytest.raises(Conflict, match="exists already"):
            await engine.init_adapter(other)
    with pytest.raises(Conflict, match="served as 'eval-concise'"):
        await engine.init_adapter(AdapterSpec("eval-concise"))


async def test_what_is_made_again_before_it_was_trained_is_the_same(engine: Any) -> None:
    made = await engine.init_adapter(SMALL)
    assert await engine.init_adapter(SMALL) == made
    await teach(engine, SMALL.lora_id, "key", steps_per_batch=1)
    with pytest.raises(Conflict, match="exists already"):
        await engine.init_adapter(SMALL)


async def test_unknown_adapters_and_versions_are_not_found(engine: Any) -> None:
    with pytest.raises(NotFound, match="no adapter 'x'"):
        await engine.resolve("x")
    await engine.init_adapter(SMALL)
    with pytest.raises(NotFound, match="no version 3; its newest is 0"):
        await engine.resolve(SMALL.lora_id, 3)


async def test_deleting_is_idempotent_and_lists_follow(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    other = await engine.init_adapter(AdapterSpec("other", rank=4, alpha=8))
    assert [weights.lora_id for weights in await engine.list_adapters("eval/")] == ["eval/concise"]
    assert await engine.delete_adapter(SMALL.lora_id)
    assert not await engine.delete_adapter(SMALL.lora_id)
    assert await engine.list_adapters() == [other]


async def test_weights_of_a_deleted_adapter_are_never_replaced_by_its_successor(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    old = (await teach(engine, SMALL.lora_id, "key")).weights
    await engine.delete_adapter(SMALL.lora_id)
    await engine.init_adapter(SMALL)
    await teach(engine, SMALL.lora_id, "key", steps_per_batch=1)
    with pytest.raises(Conflict, match="no longer what it was"):
        await ask(engine, old, "hi")


async def test_a_fresh_adapter_depends_on_its_seed_and_not_on_its_id(
    engine: Any, open_engine: Any, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    first = await engine.init_adapter(SMALL)
    torch.manual_seed(2)
    assert await open_engine(tmp_path / "elsewhere").init_adapter(SMALL) == first
    assert (await engine.init_adapter(AdapterSpec("b", rank=8, alpha=16))).digest == first.digest
    assert (await engine.init_adapter(AdapterSpec("c", rank=8, alpha=16, seed=1))).digest != first.digest


async def test_an_exported_adapter_is_one_for_peft(base: Any, engine: Any) -> None:
    from peft import PeftModel

    await engine.init_adapter(SMALL)
    update = await teach(engine, SMALL.lora_id, "key", learning_rate=1e-2)
    directory = await engine.export_adapter(SMALL.lora_id)
    assert json.loads((directory / "adapter_config.json").read_text())["base_model_name_or_path"] == "claas-tiny"
    sample = await ask(engine, update.weights, "hi")
    model = PeftModel.from_pretrained(base.share(), str(directory)).eval()
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    with torch.inference_mode():
        logprobs = model(ids).logits[0, len(sample.prompt_ids) - 1 : -1].log_softmax(-1)
    chosen = logprobs[range(len(sample.token_ids)), list(sample.token_ids)]
    assert sample.logprobs == pytest.approx(chosen.tolist(), abs=1e-4)


async def test_optimiser_state_is_kept_for_the_two_newest_versions(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    for step in range(4):
        await teach(engine, SMALL.lora_id, f"{step}", steps_per_batch=1, prompts=("hi",))
    home = (await engine.export_adapter(SMALL.lora_id)).parent
    kept = sorted(path.parent.name for path in home.glob("*/optimizer.safetensors"))
    assert kept == ["000003", "000004"]


async def test_target_modules_choose_the_layers(engine: Any) -> None:
    await engine.init_adapter(AdapterSpec("some", rank=4, alpha=8, target_modules=("q_proj", "v_proj")))
    config = json.loads((await engine.export_adapter("some") / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj", "v_proj"]
    with pytest.raises(InvalidInput, match=r"unknown target_modules lm_head; known: down_proj"):
        await engine.init_adapter(AdapterSpec("none", target_modules=("lm_head",)))
