"""What lm-eval's own models are given in place of the API, without any of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from claas.bench import run_lm_eval
from claas.bench.adapters import stored
from claas.bench.settings import BenchConfig
from claas.core.errors import InvalidInput
from claas.results.benchmarks import EvalResult
from claas.tiny import WEIGHTS_DIR


def adapter(folder: Path, rank: int = 24) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def given(model: str, **settings: Any) -> tuple[dict[str, Any], EvalResult]:
    """What lm-eval is asked of one model, and what is made of its reply."""
    asked: list[dict[str, Any]] = []

    def runner(**arguments: Any) -> dict[str, Any]:
        asked.append(arguments)
        return {"results": {"gsm8k": {"exact_match,flexible-extract": 0.5}}, "n-samples": {"gsm8k": {"effective": 4}}}

    result = run_lm_eval(model, ["gsm8k"], limit=4, runner=runner, **settings)
    return asked[0], result


def test_hf_gets_the_folders_of_the_base_model_and_of_the_adapter(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine")
    asked, result = given(str(folder), backend="hf", dtype="float32", device="cpu", batch_size=4, window=512)
    assert asked == {
        "model": "hf",
        "model_args": {
            "pretrained": str(WEIGHTS_DIR),
            "peft": str(folder),
            "dtype": "float32",
            "device": "cpu",
            "batch_size": 4,
            "max_length": 512,
            "trust_remote_code": False,
        },
        "tasks": ["gsm8k"],
        "limit": 4,
        "num_fewshot": None,
    }
    assert (result.backend, result.average_score()) == ("hf", 0.5)


@pytest.mark.parametrize(("rank", "room"), [(4, 8), (16, 16), (24, 32), (128, 128)])
def test_vllm_gets_the_adapter_and_room_for_its_rank(tmp_path: Path, rank: int, room: int) -> None:
    folder = adapter(tmp_path / "mine", rank)
    asked, _ = given(str(folder), backend="vllm", base_model="Qwen/Qwen3-8B", dtype="bfloat16")
    assert asked["model"] == "vllm"
    assert asked["model_args"] == {
        "pretrained": "Qwen/Qwen3-8B",
        "lora_local_path": str(folder),
        "max_lora_rank": room,
        "dtype": "bfloat16",
        "batch_size": "auto",
        "trust_remote_code": False,
    }
    base, _ = given("Qwen/Qwen3-8B", backend="vllm", base_model="Qwen/Qwen3-8B")
    assert not {"lora_local_path", "max_lora_rank"} & base["model_args"].keys()


@pytest.mark.parametrize("rank", [513, None, "8"])
def test_a_rank_that_vllm_does_not_hold_is_refused(tmp_path: Path, rank: Any) -> None:
    folder = adapter(tmp_path / "mine", rank)
    with pytest.raises(InvalidInput, match=f"has the rank {rank!r}, and vLLM holds up to 512"):
        given(str(folder), backend="vllm")


def test_mlx_gets_the_folder_of_the_base_model() -> None:
    asked, result = given("claas-tiny", backend="mlx")
    assert (asked["model"], asked["model_args"]) == ("mlxlm", {"path_or_hf_repo": str(WEIGHTS_DIR)})
    assert result.backend == "mlx"


def test_a_version_of_a_local_store_is_given_as_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapter(tmp_path / "adapters" / "eval-concise" / "000020")
    asked, _ = given("eval/concise@20", backend="hf", store_dir=str(tmp_path))
    assert asked["model_args"]["peft"] == str(folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eval-concise@20").mkdir()  # as the folder of its run is called
    again, _ = given("eval-concise@20", backend="hf", store_dir=str(tmp_path))
    assert again == asked
    assert stored("eval-concise@20", tmp_path).version == "eval-concise@20"
    with pytest.raises(InvalidInput, match=r"eval/concise@21 is not in .*set store_dir, or download it from its API"):
        given("eval/concise@21", backend="hf", store_dir=str(tmp_path))
    with pytest.raises(InvalidInput, match="eval-concise is neither a version such as eval-concise@20, nor a folder"):
        given("eval-concise", backend="hf", store_dir=str(tmp_path))


def test_what_was_set_is_told_to_lm_eval_by_its_own_names() -> None:
    settings = {"system_instruction": "Be brief.", "gen_kwargs": {"max_gen_toks": 32}, "seed": 7}
    asked, _ = given("claas-tiny", **settings)
    seeds = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), 7)
    told = {"system_instruction": "Be brief.", "gen_kwargs": {"max_gen_toks": 32}} | seeds
    assert {name: asked[name] for name in told} == told
    assert asked["model"] == "claas-tiny"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backend": "ollama"}, "unknown backend 'ollama'; known: hf, mlx, vllm, wire"),
        ({"dtype": "float32"}, "dtype is of backend=hf and vllm; leave it out with wire"),
        ({"device": "cpu", "backend": "vllm"}, "device is of backend=hf; leave it out with vllm"),
        ({"batch_size": 4, "backend": "mlx"}, "batch_size is of backend=hf and vllm; leave it out with mlx"),
        ({"adapters": ["a@1"], "backend": "mlx"}, "takes no adapters; merge it into its base model"),
        ({"window": 64, "backend": "mlx"}, "takes no window"),
        ({"tokenizer": "my/own", "backend": "mlx"}, "takes no tokenizer"),
    ],
    ids=str,
)
def test_what_a_backend_would_ignore_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        BenchConfig(**settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("vllm", r"backend=vllm needs vllm: pip install 'lm-eval\[vllm\]==0.4.13'"),
        ("mlx", "backend=mlx needs mlx_lm: pip install mlx-lm"),
    ],
)
def test_a_backend_that_is_not_installed_is_said_in_one_line(backend: str, said: str) -> None:
    from claas.bench.backends import models_here

    with pytest.raises(InvalidInput, match=said) as refused:
        models_here(BenchConfig(backend=backend), print)
    assert "\n" not in str(refused.value)
