"""Adapters of others, trained with PEFT: served with PEFT's numbers, taught on, exported as they were, or refused."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load, save

from claas.core.errors import Conflict, InvalidInput, NotFound
from claas.engines.types import AdapterSpec, TokenIds
from tests.engines.peft_adapters import files, trained
from tests.engines.talk import ask, teach

pytestmark = pytest.mark.anyio

SPELLED = "The 7 quick-brown foxes said: don't."


def told(base: Any, folder: Path, ids: list[int]) -> list[float]:
    """The log probabilities by transformers and PEFT."""
    loader: Any = PeftModel
    model = loader.from_pretrained(copy.deepcopy(base.model), str(folder)).eval()
    with torch.inference_mode():
        logprobs = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return logprobs.gather(-1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 8, "lora_alpha": 16},
        {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ["v_proj"]},
        {"r": 4, "lora_alpha": 4, "target_modules": "all-linear", "dtype": torch.bfloat16},
        {"r": 4, "layers_to_transform": [1], "target_modules": ["o_proj", "up_proj"]},
        {"r": 4, "target_modules": r".*layers\.0\..*(k_proj|gate_proj)", "lora_dropout": 0.1},
        {"r": 4, "init_lora_weights": "gaussian", "dtype": torch.float16},
    ],
    ids=str,
)
async def test_an_imported_adapter_has_the_numbers_of_peft(
    engine: Any, base: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = trained(base.model, tmp_path / "mine", **settings)
    weights = await engine.import_adapter("mine", *files(folder))
    ids = base.chat.text_ids(SPELLED)
    read = (await engine.read(weights, TokenIds(tuple(ids)))).logprobs
    assert read == pytest.approx(told(base, folder, ids), abs=1e-4)
    untouched = (await engine.read(await engine.resolve(None), TokenIds(tuple(ids)))).logprobs
    assert read != pytest.approx(untouched, abs=1e-2)
    exported = await engine.export_adapter("mine")
    assert told(base, exported, ids) == pytest.approx(told(base, folder, ids), abs=1e-4)
    taught = (await teach(engine, "mine", "key", steps_per_batch=1)).weights
    assert taught.version == 1
    assert (await ask(engine, taught, "hi")).weights == taught


async def test_it_is_imported_once_and_never_changed(engine: Any, open_engine: Any, base: Any, tmp_path: Path) -> None:
    mine = files(trained(base.model, tmp_path / "mine", r=4))
    weights = await engine.import_adapter("mine", *mine)
    await teach(engine, "mine", "key", steps_per_batch=1)
    assert await engine.import_adapter("mine", *mine) == weights
    assert [each.version for each in await engine.list_adapters()] == [1]
    assert await open_engine().import_adapter("mine", *mine) == weights
    for other in (
        trained(base.model, tmp_path / "rank", r=8),
        trained(base.model, tmp_path / "alpha", r=4, lora_alpha=4),
    ):
        with pytest.raises(Conflict, match="exists already"):
            await engine.import_adapter("mine", *files(other))
    await engine.init_adapter(AdapterSpec("own", rank=4))
    with pytest.raises(Conflict, match="'own' exists already"):
        await engine.import_adapter("own", *mine)


async def test_adapters_that_differ_in_their_scale_alone_are_other_weights(
    engine: Any, base: Any, tmp_path: Path
) -> None:
    config, weights = files(trained(base.model, tmp_path / "mine", r=4))
    scales: list[dict[str, Any]] = [{}, {"lora_alpha": 2}, {"use_rslora": True}]
    made = [
        await engine.import_adapter(f"mine-{number}", config | scale, weights) for number, scale in enumerate(scales)
    ]
    again = await engine.import_adapter("again", config, weights)
    assert len({each.digest for each in made}) == 3
    assert again.digest == made[0].digest


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"use_dora": True}, "use_dora=True; merge it into its base model"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern="),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern="),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"a_setting_of_tomorrow": 1}, "a_setting_of_tomorrow=1"),
        ({"peft_type": "IA3", "task_type": "SEQ_CLS"}, "peft_type='IA3', task_type='SEQ_CLS'"),
        ({"r": 4.5}, "r in adapter_config.json must be a whole number above 0, got 4.5"),
        ({"r": None}, "r in adapter_config.json must be a whole number above 0, got None"),
        ({"lora_alpha": 0}, "lora_alpha in adapter_config.json"),
        ({"r": float("nan")}, "r in adapter_config.json must be a whole number above 0, got nan"),
        ({"lora_alpha": float("inf")}, "lora_alpha in adapter_config.json must be a whole number above 0, got inf"),
        ({"use_rslora": "yes"}, "use_rslora='yes'"),
        ({"use_rslora": 1}, "use_rslora=1"),
        ({"r": 8}, r"has the size \(4, \d+\), and here it would have \(8, \d+\)"),
    ],
    ids=str,
)
async def test_what_is_no_plain_lora_is_refused_by_name(
    engine: Any, base: Any, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    config, weights = files(trained(base.model, tmp_path / "mine", r=4))
    with pytest.raises(InvalidInput, match=said) as refused:
        await engine.import_adapter("mine", config | changed, weights)
    assert str(refused.value).startswith("refused: ")
    with pytest.raises(NotFound):
        await engine.resolve("mine")


def spoilt(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[bytes, str]]:
    """Files that are no adapter of this base model, with what is said."""
    (a_name, a), (b_name, _) = sorted(tensors.items())[:2]
    return {
        "a layer more": (
            save({**tensors, a_name.replace("layers.0", "layers.99"): a.clone()}),
            "there is no layer here for base_model.model.model.layers.99",
        ),
        "the head": (save({"base_model.model.lm_head.lora_A.weight": a}), "no layer here for .*lm_head"),
        "one of two": (save({name: each for name, each in tensors.items() if name != b_name}), f"{b_name} is missing"),
        "wider": (save({**tensors, a_name: torch.cat([a, a], 1)}), r"has the size \(4, \d+\), and here"),
        "nothing": (save({}), "it changes no layer"),
        "NaN": (save({**tensors, a_name: a * torch.nan}), "holds what is no number"),
        "integers": (save({**tensors, a_name: a.to(torch.int32)}), "is of torch.int32"),
        "no safetensors": (b"PK\x03\x04", "no safetensors file"),
    }


async def test_weights_of_another_base_model_are_refused_with_both_names(
    engine: Any, base: Any, tmp_path: Path
) -> None:
    folder = trained(base.model, tmp_path / "mine", r=4)
    config, whole = files(folder)
    config["base_model_name_or_path"] = "somebody/else"
    for weights, said in spoilt(load(whole)).values():
        with pytest.raises(InvalidInput, match=said) as refused:
            await engine.import_adapter("mine", config, weights)
        assert str(refused.value).startswith("refused: ")
        if "layer" in said or "size" in said or "missing" in said:
            assert "trained on 'somebody/else', this base is 'claas-tiny'" in str(refused.value)
    assert await engine.list_adapters() == []
