"""Scores are the model's own log probabilities."""

import asyncio
from typing import Any

import pytest
import torch

from claas.core.errors import InvalidInput
from tests.engines.talk import PROMPTS, ask, user

pytestmark = pytest.mark.anyio


async def test_scores_are_those_of_a_transformers_forward_pass(base: Any, engine: Any) -> None:
    weights = await engine.resolve(None)
    completion = "Because air scatters blue light most. 🙂"
    score = await engine.score(weights, user(PROMPTS[0]), completion)
    prompt_ids = base.chat.prompt_ids(user(PROMPTS[0]))
    completion_ids = base.chat.completion_ids(completion)
    with torch.inference_mode():
        logits = base.model(torch.tensor([prompt_ids + completion_ids])).logits[0, len(prompt_ids) - 1 : -1]
    expected = logits.log_softmax(-1)[range(len(completion_ids)), completion_ids]
    assert score.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert score.prompt_ids == tuple(prompt_ids)
    assert score.tokens[-1] == "<|im_end|>"
    assert len(score.tokens) == len(score.logprobs)


async def test_an_answer_scores_as_it_was_sampled(engine: Any) -> None:
    weights = await engine.resolve(None)
    sample = await ask(engine, weights, "hi", max_tokens=200)
    score = await engine.score(weights, user("hi"), sample.text)
    assert score.tokens == sample.tokens
    assert score.logprobs == pytest.approx(sample.logprobs, abs=1e-4)


async def test_many_lengths_at_once_each_get_their_own_score(engine: Any) -> None:
    weights = await engine.resolve(None)
    texts = ["a", "It is " * 3, "It is " * 30, "hot"]
    scores = await asyncio.gather(*[engine.score(weights, user("hi"), text) for text in texts])
    assert [sum(score.logprobs) for score in scores] == [
        sum((await engine.score(weights, user("hi"), text)).logprobs) for text in texts
    ]


async def test_an_empty_completion_is_the_end_of_turn_alone(engine: Any) -> None:
    score = await engine.score(await engine.resolve(None), user("hi"), "")
    assert score.tokens == ("<|im_end|>",)


async def test_a_completion_beyond_the_window_is_refused(engine: Any) -> None:
    with pytest.raises(InvalidInput, match="window of 2048"):
        await engine.score(await engine.resolve(None), user("hi"), "word " * 2100)
