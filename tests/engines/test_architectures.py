"""Any causal language model of the Hugging Face kind loads by path, answers and learns."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2MoeConfig,
)

from claas.core.errors import Conflict, InvalidInput
from claas.core.settings import TrainingConfig
from claas.engines.base import AdapterSpec, Engine, Sample, Weights
from claas.engines.local.engine import LocalEngine
from claas.engines.local.forward import GenericForward, Qwen3Forward
from claas.engines.local.linear import Segment
from claas.engines.local.model import LoadedModel
from claas.engines.local.versions import AdapterCache, LocalStore
from tests.engines.talk import PROMPTS, ask, items, user

pytestmark = pytest.mark.anyio

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
WINDOW = {"max_position_embeddings": 256}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES, **WINDOW, num_key_value_heads=2, vocab_size=320),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, vocab_size=320),
    "mistral-sliding": MistralConfig(**SIZES, **WINDOW, num_key_value_heads=2, vocab_size=320, sliding_window=8),
    "gemma2-mixed": Gemma2Config(
        **SIZES, **WINDOW, num_key_value_heads=2, head_dim=8, vocab_size=320, sliding_window=8
    ),
    "qwen2-moe": Qwen2MoeConfig(
        **SIZES, **WINDOW, num_key_value_heads=2, vocab_size=320, num_experts=4, moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    ),
}  # fmt: skip

BITWISE = {"llama", "gpt2", "mistral-sliding"}
"""Where an answer is the same bits in every batch. Not where attention is written out (Gemma 2), and not where experts
multiply as many rows as happen to be routed to them."""


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<|start|>", "<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    raw.train_from_iterator(PROMPTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>")
    fast.chat_template = template
    return fast


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Saves a random model of a kind, and its tokenizer."""

    def save(kind: str, template: str | None = TEMPLATE) -> Path:
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(CONFIGS[kind])
        model.generation_config.eos_token_id = 1
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)  # far from uniform, so that a wrong mask shows
        model.save_pretrained(tmp_path / kind)
        tokenizer(template).save_pretrained(tmp_path / kind)
        return tmp_path / kind

    return save


def told(base: LoadedModel, sample: Sample) -> list[float]:
    """The logprobs that transformers itself gives the sampled tokens."""
    model: Any = base.model
    with torch.inference_mode():
        logits = model(torch.tensor([sample.prompt_ids + sample.token_ids])).logits[0, len(sample.prompt_ids) - 1 : -1]
    return logits.log_softmax(-1)[range(len(sample.token_ids)), list(sample.token_ids)].tolist()


async def learned(engine: Engine, lora_id: str) -> Weights:
    """An adapter after one update."""
    weights = await engine.init_adapter(AdapterSpec(lora_id, rank=4, alpha=8))
    sample = await ask(engine, weights, PROMPTS[0], 8, 1.0)
    training = TrainingConfig(learning_rate=1e-2, teacher_top_k=20, steps_per_batch=2)
    return (await engine.update(lora_id, items([sample], PROMPTS[:1]), training, "key")).weights


@pytest.mark.parametrize("small", [True, False], ids=["merged", "unmerged"])
@pytest.mark.parametrize("kind", CONFIGS)
async def test_a_model_answers_as_transformers_says_and_learns(
    saved: Callable[..., Path], tmp_path: Path, kind: str, small: bool
) -> None:
    base = replace(LoadedModel.load(str(saved(kind))), small=small)
    store = LocalStore(tmp_path / "store")
    engine = LocalEngine(base, store, max_batch_rows=4, lock_timeout_s=60)
    try:
        start = await engine.resolve(None)
        weights = await learned(engine, "a")
        versions = [start, weights, await learned(engine, "b")]
        wanted = [(versions[index % 3], prompt, 6 + index) for index, prompt in enumerate(PROMPTS)]
        alone = [await ask(engine, *each, temperature=1.0) for each in wanted]
        together = await asyncio.gather(*[ask(engine, *each, temperature=1.0) for each in wanted])
        if kind in BITWISE:
            assert together == alone
        assert [sample.token_ids for sample in together] == [sample.token_ids for sample in alone]
        assert alone[0].logprobs == pytest.approx(told(base, alone[0]), abs=1e-4)
        assert alone[3].logprobs == pytest.approx(told(base, alone[3]), abs=1e-4)
        changed = [await engine.score(version, user("hi"), "sky") for version in (start, weights)]
        assert changed[0].logprobs != changed[1].logprobs
        assert alone[1].logprobs == pytest.approx(await rescored(base, store, weights, alone[1]), abs=1e-4)
    finally:
        await engine.close()


async def rescored(base: LoadedModel, store: LocalStore, weights: Weights, sample: Sample) -> list[float]:
    """The sample's logprobs by a forward pass over all of it at once."""
    adapters = AdapterCache(base, store)
    forward = GenericForward(base, adapters.head)
    ids = torch.tensor([sample.prompt_ids + sample.token_ids[:-1]])
    keep = torch.arange(ids.shape[1])[None] >= len(sample.prompt_ids) - 1
    positions = torch.arange(ids.shape[1])[None]
    segments = [Segment(await adapters.get(weights), 1)]
    with torch.inference_mode():
        logits = forward(ids, positions, ids.shape[1], keep, segments)
    return logits.log_softmax(-1)[range(len(sample.token_ids)), list(sample.token_ids)].tolist()


async def test_the_own_forward_pass_of_the_embedded_model_is_that_of_transformers(
    base: LoadedModel, tmp_path: Path
) -> None:
    adapters = AdapterCache(base, LocalStore(tmp_path))
    assert Qwen3Forward.suits(base)
    ids = torch.arange(100, 148).view(2, 24)
    positions = torch.arange(24).expand(2, -1)
    segments = [Segment(await adapters.get(base.weights), 2)]
    model: Any = base.model
    with torch.inference_mode():
        expected = model(ids).logits.flatten(0, 1)
        for forward in (Qwen3Forward(base, adapters.head), GenericForward(base, adapters.head)):
            logits = forward(ids, positions, 24, torch.ones(2, 24, dtype=torch.bool), segments)
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_model_without_a_chat_template_is_refused(saved: Callable[..., Path]) -> None:
    with pytest.raises(InvalidInput, match="has no chat template"):
        LoadedModel.load(str(saved("llama", template=None)))


def test_a_directory_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"'\./nowhere': no such directory"):
        LoadedModel.load("./nowhere")


def test_a_directory_without_a_model_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be loaded as a causal language model"):
        LoadedModel.load(str(tmp_path))


async def test_adapters_of_another_base_model_are_refused(
    saved: Callable[..., Path], base: LoadedModel, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    engine = LocalEngine(base, LocalStore(store), max_batch_rows=4, lock_timeout_s=60)
    weights = await engine.init_adapter(AdapterSpec("a", rank=4, alpha=8))
    await engine.close()
    other = LocalEngine.open(str(saved("llama")), store)
    with pytest.raises(Conflict, match="other weights"):
        await ask(other, weights, "hi")
    await other.close()
