"""A random model small enough to train in milliseconds. Without the `local` extra only the prompt is tested."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

if any(find_spec(package) is None for package in ("torch", "transformers", "peft", "safetensors")):
    collect_ignore = [f"test_{name}.py" for name in ("sdpo", "sdpo_laws", "batch", "optimizer", "update")]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    if find_spec("torch") is None:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def adapted() -> Callable[[], Any]:
    """Makes the same PEFT model every time: random base weights, an adapter that already does a little."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=32,
        max_position_embeddings=64,
    )

    def make() -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            base = Qwen3ForCausalLM(config)
            for parameter in base.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
            lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
            model = get_peft_model(base, lora)
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=0.02)
        return model.eval()

    return make
