"""The vLLM engine: numbers, names of weights, and room for adapters."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from claas.core.errors import InvalidInput, NotFound, PromptTooLong, StackError
from claas.engines.local.lora import LoraShape, config_json, load_adapter, nonzero_tensors, to_bytes, wrap
from claas.engines.types import AdapterSpec, TokenIds
from tests.engines.talk import ask, user
from tests.fakes.vllm_server import FakeVllm

pytestmark = pytest.mark.anyio

LORA = "eval/concise"


async def test_answers_and_scores_are_those_of_exactly_the_weights_asked(
    open_vllm: Any, base: Any, fake: FakeVllm
) -> None:
    engine = await open_vllm(check_model=True)
    assert (await engine.health()).detail["model_check"].startswith("passed, ")
    shape = LoraShape.of(AdapterSpec(LORA, rank=4), base)
    tensors = nonzero_tensors(shape, base.model)
    config = json.loads(config_json(shape, base))
    adapted = wrap(base, shape)
    load_adapter(adapted, tensors)
    changed = await engine.import_adapter(LORA, config, to_bytes(tensors))
    for weights, model in ((await engine.resolve(None), base.model), (changed, adapted)):
        score = await engine.score(weights, user("What is rain?"), "Rain is water.")
        ids = [*score.prompt_ids, *base.chat.completion_ids("Rain is water.")]
        with torch.inference_mode():
            own = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = [own[at - 1, ids[at]].item() for at in range(1, len(ids))]
        assert score.logprobs == pytest.approx(expected[len(score.prompt_ids) - 1 :], abs=1e-4)
        reading = await engine.read(weights, TokenIds(tuple(ids)), 3)
        assert reading.logprobs == pytest.approx(expected, abs=1e-4)
        assert [row[0].logprob for row in reading.top_logprobs] == pytest.approx(own[:-1].max(-1).values.tolist())
        (continued,) = await engine.score_continuations(weights, TokenIds(tuple(ids[:-2])), [ids[-2:]])
        assert continued.logprobs == pytest.approx(expected[-2:], abs=1e-4)
        sample = await ask(engine, weights, "hi", max_tokens=2, top_logprobs=2)
        assert (sample.weights, sample.token_ids, sample.finish_reason) == (weights, (715, 322), "length")
        assert (sample.mean_entropy, [len(row) for row in sample.top_logprobs]) == (None, [2, 2])
        (said,) = await engine.score_continuations(weights, TokenIds(sample.prompt_ids), [sample.token_ids])
        assert sample.logprobs == pytest.approx(said.logprobs, abs=1e-4)


async def test_what_is_asked_is_tokens_with_all_that_decides_the_answer(open_vllm: Any, fake: FakeVllm) -> None:
    engine = await open_vllm()
    sample = await ask(engine, await engine.resolve(None), "hi", 3, 0.7, 0.9, ("\n\n",), -1, 2)
    (asked,) = [body for path, body in fake.asked if path == "/v1/completions"]
    assert asked["prompt"] == list(sample.prompt_ids)
    assert (asked["max_tokens"], asked["temperature"], asked["top_p"]) == (3, 0.7, 0.9)
    assert (asked["stop"], asked["stop_token_ids"], asked["ignore_eos"]) == (["\n\n"], [2], True)
    assert (asked["seed"], asked["logprobs"]) == (2**63 - 1, 2)


async def test_no_name_and_no_directory_is_used_twice_and_no_more_are_loaded_than_there_is_room_for(
    open_vllm: Any, fake: FakeVllm
) -> None:
    engine = await open_vllm(vllm_adapters=2)
    versions = [
        await engine.init_adapter(AdapterSpec(f"eval/{name}", rank=4, seed=at)) for at, name in enumerate("abc")
    ]
    assert len(fake.roots) == 2
    everyone = [*versions, await engine.resolve(None)]
    samples = await asyncio.gather(*(ask(engine, each, "hi", 1) for each in everyone * 2))
    assert [sample.weights for sample in samples] == everyone * 2
    assert len(fake.roots) == 3  # the base model's zeros, and two adapters
    loads = [body for path, body in fake.asked if path == "/v1/load_lora_adapter"]
    assert len({load["lora_name"] for load in loads}) == len({load["lora_path"] for load in loads}) == len(loads)
    assert sorted(Path(fake.roots[name]).name for name in fake.roots) == sorted(fake.roots)
    await engine.delete_adapter("eval/c")
    again = await engine.init_adapter(AdapterSpec("eval/c", rank=4, seed=7))
    assert again.digest != versions[2].digest
    assert (await ask(engine, again, "hi", 1)).weights == again


async def test_a_server_that_was_started_again_is_given_its_adapters_again(open_vllm: Any, fake: FakeVllm) -> None:
    engine = await open_vllm()
    weights = await engine.init_adapter(AdapterSpec(LORA, rank=4))
    fake.adapters.clear()
    fake.roots.clear()
    assert (await ask(engine, weights, "hi", 1)).weights == weights


async def test_nothing_is_asked_of_a_server_that_is_paused(open_vllm: Any, fake: FakeVllm) -> None:
    fake.paused = True  # by a process that was killed
    engine = await open_vllm()
    base = await engine.resolve(None)
    await ask(engine, base, "hi", 1)
    assert await engine.sleep(1)
    assert fake.paused
    waiting = asyncio.create_task(ask(engine, base, "hi", 1))
    assert await engine.wake(True)
    assert (await waiting).weights == base
    assert await engine.sleep(1)
    assert not await engine.wake(False)
    await engine.close()
    assert not fake.paused


async def test_a_window_of_the_server_is_the_engines(open_vllm: Any, fake: FakeVllm) -> None:
    fake.max_model_len = 65
    engine = await open_vllm()
    assert engine.window == 64  # of 65 tokens the last is one that is sampled
    weights = await engine.resolve(None)
    assert len((await engine.read(weights, TokenIds((5,) * 64))).logprobs) == 63
    with pytest.raises(PromptTooLong, match="beyond the window of 64 tokens"):
        await engine.read(weights, TokenIds((5,) * 65))


async def test_another_model_is_not_taken_for_the_one_that_learns(open_vllm: Any, fake: FakeVllm) -> None:
    fake.off_by = -0.5
    with pytest.raises(InvalidInput, match=r"its log probabilities are 0.5 nats from .*'/models/claas-tiny'"):
        await open_vllm(check_model=True)


async def test_an_adapter_of_too_large_a_rank_is_refused_when_it_is_made(open_vllm: Any, fake: FakeVllm) -> None:
    fake.max_lora_rank = 8
    engine = await open_vllm()
    with pytest.raises(InvalidInput, match=r"rank 16 is greater than max_lora_rank 8.*vllm_max_lora_rank"):
        await engine.init_adapter(AdapterSpec(LORA, rank=16))
    with pytest.raises(NotFound):
        await engine.resolve(LORA)
    assert (await engine.init_adapter(AdapterSpec(LORA, rank=8))).version == 0


async def test_a_dead_server_is_said_in_one_line_and_what_was_made_is_kept(open_vllm: Any, fake: FakeVllm) -> None:
    engine = await open_vllm()
    weights = await engine.init_adapter(AdapterSpec(LORA, rank=4))
    fake.statuses["/v1/completions"] = 500
    fake.statuses["/health"] = 503
    with pytest.raises(StackError, match=r"vLLM failed at sampling \(HTTP 500\): scripted; run the same command again"):
        await ask(engine, weights, "hi", 1)
    assert not (await engine.health()).ok
    assert await engine.resolve(LORA) == weights
    fake.statuses.clear()
    assert (await ask(engine, weights, "hi", 1)).weights == weights


async def test_a_reply_that_is_not_vllms_is_said_in_one_line(open_vllm: Any, fake: FakeVllm) -> None:
    engine = await open_vllm()
    weights = await engine.resolve(None)
    good = {"finish_reason": "stop", "token_ids": [715], "logprobs": {"token_logprobs": [-1.0]}}
    odd: list[dict[str, Any]] = [
        {"logprobs": {}},
        {"logprobs": "none"},
        {"logprobs": {"token_logprobs": [None]}},
        {"logprobs": {"token_logprobs": [-1.0], "top_logprobs": [None]}},
        {"token_ids": 715},
        {"finish_reason": "abort"},
        {"prompt_logprobs": [None]},
        {"prompt_logprobs": [None, *[None] * 60]},
        {"prompt_logprobs": {"1": 2}},
    ]
    for each in odd:
        fake.complete = lambda body, each=each: {**good, **each}
        asked = engine.read(weights, TokenIds((5,) * 61)) if "prompt_logprobs" in each else None
        with pytest.raises(StackError, match=r"^vLLM "):
            await (asked or ask(engine, weights, "hi", 1, top_logprobs=1))
