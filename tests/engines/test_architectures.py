"""Models of the Hugging Face kind load by path, then answer and learn as their own code says, or they are refused.

Ten small random models in the default suite; all of them with `python -m pytest -m architectures`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from claas.core.errors import Conflict, InvalidInput, PromptTooLong
from claas.core.settings import TrainingConfig
from claas.engines.base import Engine
from claas.engines.local import model_check
from claas.engines.local.engine import LocalEngine
from claas.engines.local.forward import Forward, GenericForward
from claas.engines.local.linear import Segment
from claas.engines.local.llama import LlamaForward, forwards_of
from claas.engines.local.lora import base_weights, head_of
from claas.engines.local.model import LoadedModel, multiplies_bfloat16
from claas.engines.local.versions import LocalStore
from claas.engines.types import AdapterSpec, TokenIds, UpdateRequest, Weights
from tests.engines.architectures import REFUSED, SEEING, SERVED, save
from tests.engines.talk import PROMPTS, ask, items, unpredicted, user

pytestmark = pytest.mark.anyio

USUAL = (
    *("llama", "gpt2", "mistral-sliding", "gemma2", "qwen3-yarn"),
    *("qwen2-moe", "deepseek-v3", "phi3-longrope", "gpt-neo", "gemma3-vision"),
)
BITWISE = {"llama", "gpt2", "mistral-sliding"}
"""Where an answer is the same bits in every batch. Not where attention is written out (Gemma 2), and not where experts
multiply as many rows as happen to be routed to them."""


async def learned(engine: Engine, lora_id: str) -> Weights:
    """An adapter after one update."""
    weights = await engine.init_adapter(AdapterSpec(lora_id, rank=4, alpha=8))
    sample = await ask(engine, weights, PROMPTS[0], 8, 1.0)
    training = TrainingConfig(learning_rate=1e-2, teacher_top_k=20, steps_per_batch=2)
    return (await engine.update(UpdateRequest(lora_id, items([sample], PROMPTS[:1]), training, "key"))).weights


def told(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
    """The logprobs that a model of transformers, or PEFT's around it, itself gives the answer's tokens."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(answer)), list(answer)].tolist()


async def lives(kind: str, folder: Path, small: bool = True) -> None:
    """Answer, score, learn, and give an adapter away, as transformers and PEFT say it is right."""
    directory = save(kind, folder)
    base = replace(LoadedModel.load(str(directory)), small=small)
    model_check.require_same(base)
    engine = LocalEngine(base, LocalStore(folder / "store"), max_batch_rows=4, lock_timeout_s=60)
    loader: Any = AutoModelForImageTextToText if kind in SEEING else AutoModelForCausalLM
    try:
        start = await engine.resolve(None)
        weights = await learned(engine, "a")
        versions = [start, weights, await learned(engine, "b")]
        wanted = [(versions[index % 3], prompt, 6 + index) for index, prompt in enumerate(PROMPTS)]
        alone = [await ask(engine, *each, temperature=1.0) for each in wanted]
        together = await asyncio.gather(*[ask(engine, *each, temperature=1.0) for each in wanted])
        if kind in BITWISE:
            assert together == alone
            again = [
                ask(engine, *each, temperature=1.0, prediction=sample.text)
                for each, sample in zip(wanted, alone, strict=True)
            ]
            assert [unpredicted(sample) for sample in await asyncio.gather(*again)] == alone
        assert [sample.token_ids for sample in together] == [sample.token_ids for sample in alone]
        own = loader.from_pretrained(str(directory)).eval()
        for sample in (alone[0], alone[3]):
            assert sample.logprobs == pytest.approx(told(own, sample.prompt_ids, sample.token_ids), abs=1e-4)
        scored = [(await engine.score(version, user("hi"), "sky")).logprobs for version in (start, weights)]
        prompt, answer = base.chat.prompt_ids(user("hi")), base.chat.completion_ids("sky")
        assert scored[0] == pytest.approx(told(own, prompt, answer), abs=1e-4)
        whole, some = prompt * 3, [answer, answer[::-1], answer[:1]]
        scores = await engine.score_continuations(start, TokenIds(tuple(whole)), some)
        for score, each in zip(scores, some, strict=True):
            assert score.logprobs == pytest.approx(told(own, whole, each), abs=1e-4)
        plain: Any = PeftModel
        adapted = plain.from_pretrained(own, str(await engine.export_adapter("a"))).eval()
        assert scored[1] == pytest.approx(told(adapted, prompt, answer), abs=1e-4)
        assert scored[1] != pytest.approx(scored[0], abs=1e-4)
        sample = alone[1]
        assert sample.logprobs == pytest.approx(told(adapted, sample.prompt_ids, sample.token_ids), abs=1e-4)
    finally:
        await engine.close()


@pytest.mark.parametrize("kind", USUAL)
async def test_a_model_answers_and_learns_as_its_own_code_says(tmp_path: Path, kind: str) -> None:
    await lives(kind, tmp_path)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2-moe"])
async def test_a_model_does_so_with_adapters_beside_it(tmp_path: Path, kind: str) -> None:
    await lives(kind, tmp_path, small=False)


@pytest.mark.parametrize("kind", ["qwen3", "qwen2-moe"])
async def test_a_model_in_half_precision_answers_and_learns(tmp_path: Path, kind: str) -> None:
    base = LoadedModel.load(str(save(kind, tmp_path)))
    half: Any = base.model
    base = replace(base, model=half.bfloat16(), small=False, packed=False)
    assert model_check.require_same(base) == "passed"
    engine = LocalEngine(base, LocalStore(tmp_path / "store"), max_batch_rows=4, lock_timeout_s=60)
    weights = await learned(engine, "a")
    samples = await asyncio.gather(*[ask(engine, weights, prompt, 8, temperature=1.0) for prompt in PROMPTS[:3]])
    for sample in samples:
        logprobs = (await engine.read(weights, TokenIds((*sample.prompt_ids, *sample.token_ids)))).logprobs
        assert logprobs[-len(sample.token_ids) :] == pytest.approx(sample.logprobs, abs=0.3)
    await engine.close()


@pytest.mark.skipif(not multiplies_bfloat16(), reason="a CPU without instructions for bfloat16")
async def test_a_cpu_may_hold_a_model_in_bfloat16_and_says_how_far_that_is_from_float32(tmp_path: Path) -> None:
    engine = LocalEngine.open(str(save("llama", tmp_path)), tmp_path / "store", dtype="bfloat16")
    weights = await learned(engine, "a")
    samples = await asyncio.gather(*[ask(engine, weights, prompt, 8, temperature=1.0) for prompt in PROMPTS[:3]])
    assert samples == [await ask(engine, weights, prompt, 8, temperature=1.0) for prompt in PROMPTS[:3]]
    detail = (await engine.health()).detail
    assert detail["dtype"] == "bfloat16"
    assert re.fullmatch(r"passed; log probabilities are \S+ nats from those in float32", str(detail["model_check"]))
    await engine.close()


@pytest.mark.architectures
@pytest.mark.parametrize("small", [True, False], ids=["merged", "beside"])
@pytest.mark.parametrize("kind", SERVED)
async def test_every_model_answers_and_learns_as_its_own_code_says(tmp_path: Path, kind: str, small: bool) -> None:
    await lives(kind, tmp_path, small)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "falcon-alibi" else pytest.mark.architectures) for kind in REFUSED]
)
def test_a_model_that_the_engine_cannot_compute_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    directory = save(kind, tmp_path)
    with pytest.raises(InvalidInput, match=f"base model '{directory}' (cannot be computed|is computed|does not say)"):
        LocalEngine.open(str(directory), tmp_path / "store")


async def test_a_model_that_is_computed_wrongly_is_refused_with_the_gap_unless_nobody_asks(tmp_path: Path) -> None:
    directory = str(save("roberta", tmp_path))
    with pytest.raises(InvalidInput, match=r"log probabilities are 0\.\d+ nats .* 5 tokens.*check_model=false"):
        LocalEngine.open(directory, tmp_path / "store")
    engine = LocalEngine.open(directory, tmp_path / "store", check_model=False)
    assert (await engine.health()).detail["model_check"] == "skipped"
    await engine.close()


@pytest.mark.parametrize("kind", ["phi3-longrope", "gpt-neo"])
async def test_rows_end_where_positions_would_depend_on_their_length(tmp_path: Path, kind: str) -> None:
    base = LoadedModel.load(str(save(kind, tmp_path)))
    engine = LocalEngine(base, LocalStore(tmp_path / "store"), max_batch_rows=4, lock_timeout_s=60)
    weights = await engine.resolve(None)
    with pytest.raises(PromptTooLong, match="window of 128"):
        await ask(engine, weights, "word " * 120)
    full = await ask(engine, weights, PROMPTS[0], 256, temperature=1.0)
    assert len(full.prompt_ids) + len(full.token_ids) <= 128
    await engine.close()
    with pytest.raises(InvalidInput, match=r"computed wrongly by this engine.* nats from the model's own"):
        model_check.require_same(replace(base, window=256))


def test_a_window_is_one_that_attention_can_be_padded_to(tmp_path: Path) -> None:
    base = LoadedModel.load(str(save("gpt2-odd", tmp_path)))
    assert base.window == 240
    assert model_check.require_same(base) == "passed"


async def test_a_model_that_passed_is_not_checked_again(
    base: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "checks.json"
    assert model_check.checked_once(base, memory) == "passed"

    def require_same(_: LoadedModel) -> str:
        return "passed again"

    monkeypatch.setattr(model_check, "require_same", require_same)
    assert model_check.checked_once(base, memory) == "passed"
    assert model_check.checked_once(replace(base, small=False), memory) == "passed again"
    memory.write_text("{")
    assert model_check.checked_once(base, memory) == "passed again"


async def test_a_large_model_on_a_cpu_is_not_tried_on_rows_that_take_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = LoadedModel.load(str(save("mistral-sliding", tmp_path)))
    monkeypatch.setattr(model_check, "_MOST_WORK", 1.0)
    assert model_check.require_same(base) == "passed, not tried beyond 24 tokens"


async def test_what_an_adapter_needs_is_known_when_it_is_made(tmp_path: Path) -> None:
    base = LoadedModel.load(str(save("deepseek-v3", tmp_path)))
    engine = LocalEngine(base, LocalStore(tmp_path / "store"), max_batch_rows=4, lock_timeout_s=60)
    for targets in (("down_proj",), ("gate_proj",), ("gate_proj", "up_proj")):
        with pytest.raises(InvalidInput, match="cannot be adapted at"):
            await engine.init_adapter(AdapterSpec("a", rank=4, alpha=8, target_modules=targets))
    assert await engine.list_adapters() == []
    await engine.close()


WRITTEN_OUT = ("llama-yarn", "llama-biases", "mistral-sliding", "qwen2-mixed", "qwen3-bias", "seed-oss")
BY_THEIR_OWN_CODE = ("gpt2", "gemma", "ernie4.5", "ministral3")


def forward_of(kind: str, folder: Path) -> Forward:
    base = LoadedModel.load(str(save(kind, folder)))
    return forwards_of(base, base_weights(base), 1)[0]


@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_a_model_that_computes_as_llama_does_runs_the_written_out_forward_pass(tmp_path: Path, kind: str) -> None:
    assert isinstance(forward_of(kind, tmp_path), LlamaForward)


@pytest.mark.parametrize("kind", BY_THEIR_OWN_CODE)
def test_a_model_that_does_not_runs_its_own_code_even_with_the_same_parts(tmp_path: Path, kind: str) -> None:
    assert isinstance(forward_of(kind, tmp_path), GenericForward)


@pytest.mark.parametrize("kind", ["embedded", "llama-tied", "qwen2-mixed"])
def test_the_written_out_forward_pass_is_that_of_transformers(base: LoadedModel, tmp_path: Path, kind: str) -> None:
    if kind != "embedded":
        base = LoadedModel.load(str(save(kind, tmp_path)))
    ids = torch.arange(100, 196).view(2, 48)
    positions = torch.arange(48).expand(2, -1)
    segments = [Segment(base_weights(base), 2)]
    model: Any = base.model
    with torch.inference_mode():
        expected = model(ids).logits.flatten(0, 1)
        for forward in (LlamaForward(base, head_of(base)), GenericForward(base, head_of(base))):
            logits = forward(ids, positions, 48, torch.ones(2, 48, dtype=torch.bool), segments)
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    directory = save("llama", tmp_path)
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(InvalidInput, match="has no chat template"):
        LoadedModel.load(str(directory))


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    directory = save("llama", tmp_path)
    for file in directory.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InvalidInput, match="has no tokenizer"):
        LoadedModel.load(str(directory))


def test_a_directory_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"'\./nowhere': no such directory"):
        LoadedModel.load("./nowhere")


def test_a_directory_without_a_model_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be loaded as a causal language model"):
        LoadedModel.load(str(tmp_path))


@asynccontextmanager
async def opened(directory: Path, store: Path) -> AsyncGenerator[LocalEngine]:
    engine = LocalEngine.open(str(directory), store)
    try:
        yield engine
    finally:
        await engine.close()


async def test_adapters_of_another_base_model_are_refused(base: LoadedModel, tmp_path: Path) -> None:
    store = tmp_path / "store"
    engine = LocalEngine(base, LocalStore(store), max_batch_rows=4, lock_timeout_s=60)
    weights = await engine.init_adapter(AdapterSpec("a", rank=4, alpha=8))
    await engine.close()
    async with opened(save("llama", tmp_path), store) as other:
        assert (await other.health()).detail["model_check"] == "passed"
        with pytest.raises(Conflict, match="other weights"):
            await ask(other, weights, "hi")
