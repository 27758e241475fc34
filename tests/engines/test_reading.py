"""Tokens read as they are: the model's own log probabilities, without a chat template."""

import asyncio
from typing import Any

import pytest
import torch

from claas.core.errors import BadRequest, InvalidInput, PromptTooLong
from claas.engines.types import SamplingParams, TokenIds
from tests.engines.talk import teach

pytestmark = pytest.mark.anyio

TEXTS = ("The sky is blue because air scatters light.", "Bees make honey. 🙂", "a", "It rains. " * 40)


async def test_readings_are_those_of_a_transformers_forward_pass(base: Any, engine: Any) -> None:
    weights = await engine.resolve(None)
    prompts = [await engine.encode(text) for text in TEXTS]
    readings = await asyncio.gather(*[engine.read(weights, prompt, 5) for prompt in prompts])
    for prompt, reading in zip(prompts, readings, strict=True):
        with torch.inference_mode():
            logprobs = base.model(torch.tensor([prompt.ids])).logits[0, :-1].log_softmax(-1)
        expected = logprobs[range(len(prompt.ids) - 1), list(prompt.ids[1:])]
        assert reading.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
        top = logprobs.topk(5).values
        assert [[each.logprob for each in row] for row in reading.top_logprobs] == [
            pytest.approx(row, abs=1e-4) for row in top.tolist()
        ]
        assert len(reading.tokens) == len(reading.token_bytes) == len(prompt.ids)


async def test_a_reading_depends_on_the_weights_and_not_on_the_company(engine: Any) -> None:
    from claas.engines.types import AdapterSpec

    await engine.init_adapter(AdapterSpec("read", rank=8, alpha=16))
    taught = (await teach(engine, "read", "k")).weights
    base, prompt = await engine.resolve(None), await engine.encode(TEXTS[0])
    together = await asyncio.gather(
        *[engine.read(weights, prompt, top) for weights in (base, taught) for top in (0, 3)]
    )
    assert together[0].logprobs == together[1].logprobs != together[2].logprobs == together[3].logprobs
    assert [len(reading.top_logprobs) for reading in together] == [0, len(prompt.ids) - 1] * 2


async def test_text_is_continued_as_it_is(base: Any, engine: Any) -> None:
    prompt = await engine.encode("The sky is")
    assert await engine.decode(prompt) == "The sky is"
    sample = await engine.sample(await engine.resolve(None), prompt, SamplingParams(8, 0.0))
    ids = torch.tensor([prompt.ids])
    with torch.inference_mode():
        told = base.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    assert (sample.prompt_ids, sample.token_ids) == (prompt.ids, tuple(told[0, ids.shape[1] :].tolist()))


async def test_what_cannot_be_read_is_refused_with_its_reason(engine: Any) -> None:
    weights = await engine.resolve(None)
    for refused, why in (
        ((), BadRequest),
        ((3, 10**9), InvalidInput),
        ((-1,), InvalidInput),
        ((5,) * 2049, PromptTooLong),
    ):
        with pytest.raises(why):
            await engine.read(weights, TokenIds(refused))
    assert (await engine.read(weights, TokenIds((5,) * 2048))).logprobs
    with pytest.raises(PromptTooLong, match="2048 tokens, which with 1 more"):
        await engine.sample(weights, TokenIds((5,) * 2048), SamplingParams(1))
