"""Continuations of one prompt, which is read once for all of them."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from claas.core.errors import BadRequest, InvalidInput, PromptTooLong
from claas.engines.local.score import Scorer
from claas.engines.types import AdapterSpec, TokenIds, Weights
from tests.engines.talk import teach

pytestmark = pytest.mark.anyio

LENGTHS = (1, 2, 15, 16, 17, 31, 32, 33, 700)
SIZES = (1, 1, 1, 2, 3, 15, 16, 17, 40)


def drawn(seed: int, length: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(4000), k=length))


async def echoed(engine: Any, weights: Weights, prompt: TokenIds, continuation: Sequence[int]) -> tuple[Any, Any]:
    """The same by reading prompt and continuation as one text."""
    reading = await engine.read(weights, TokenIds((*prompt.ids, *continuation)), 1)
    logprobs, tops = reading.logprobs[-len(continuation) :], reading.top_logprobs[-len(continuation) :]
    return logprobs, tuple(logprob >= top[0].logprob for logprob, top in zip(logprobs, tops, strict=True))


@pytest.fixture
async def adapters(engine: Any) -> list[Weights]:
    """The base model and a trained adapter."""
    await engine.init_adapter(AdapterSpec("scored", rank=8, alpha=16))
    return [await engine.resolve(None), (await teach(engine, "scored", "k")).weights]


async def test_each_is_scored_as_if_it_were_read_after_the_prompt(engine: Any, adapters: list[Weights]) -> None:
    for weights in adapters:
        for length in LENGTHS:
            prompt = TokenIds(drawn(length, length))
            continuations = [drawn(1000 + length + index, size) for index, size in enumerate(SIZES)]
            scores = await engine.score_continuations(weights, prompt, continuations)
            for continuation, score in zip(continuations, scores, strict=True):
                logprobs, likeliest = await echoed(engine, weights, prompt, continuation)
                assert score.logprobs == pytest.approx(logprobs, abs=1e-4)
                assert score.likeliest == likeliest


async def test_a_score_is_the_same_bits_whatever_else_is_asked(engine: Any, adapters: list[Weights]) -> None:
    asked = [
        (
            weights,
            TokenIds(drawn(length, length)),
            [drawn(7 * length + index, size) for index, size in enumerate(SIZES)],
        )
        for weights in adapters
        for length in LENGTHS
    ]
    together = await asyncio.gather(*[engine.score_continuations(*each) for each in asked])
    for (weights, prompt, continuations), scores in zip(asked, together, strict=True):
        alone = [await engine.score_continuations(weights, prompt, [each]) for each in continuations]
        assert scores == [score for (score,) in alone]


async def test_the_likeliest_continuation_is_told(base: Any, engine: Any) -> None:
    weights, prompt = await engine.resolve(None), await engine.encode("Bees make honey. The sky is blue because")
    ids = torch.tensor([prompt.ids])
    with torch.inference_mode():
        told = base.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    greedy = tuple(told[0, ids.shape[1] :].tolist())
    other = (*greedy[:3], 17, *greedy[4:])
    first, second = await engine.score_continuations(weights, prompt, [greedy, other])
    assert first.likeliest == (True,) * len(greedy)
    assert second.likeliest[:4] == (True, True, True, False)
    assert second.logprobs[:3] == first.logprobs[:3]


async def test_a_prompt_is_read_once(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    run: Any = Scorer.__dict__["_pass"]

    def counted(scorer: Scorer, forward: Any, ids: torch.Tensor, *rest: Any) -> Any:
        fed.append(ids.numel())
        return run(scorer, forward, ids, *rest)

    monkeypatch.setattr(Scorer, "_pass", counted)
    weights, prompt = await engine.resolve(None), TokenIds(drawn(0, 480))
    await engine.score_continuations(weights, prompt, [(letter,) for letter in (5, 6, 7, 8)])
    assert fed == [464, 16]  # all but the last tokens, and these once for the four of them
    fed.clear()
    await engine.score_continuations(weights, prompt, [(letter, 9) for letter in (5, 6, 7, 8)])
    assert fed == [464, 4 * 32]


async def test_what_cannot_be_scored_is_refused_with_its_reason(engine: Any) -> None:
    weights = await engine.resolve(None)
    for prompt, continuations, why in (
        ((), [(5,)], BadRequest),
        ((5,), [], InvalidInput),
        ((5,), [(5,), ()], InvalidInput),
        ((5,), [(5,), (10**9,)], InvalidInput),
        ((-1,), [(5,)], InvalidInput),
        ((5,) * 2040, [(5,), (5,) * 9], PromptTooLong),
    ):
        with pytest.raises(why):
            await engine.score_continuations(weights, TokenIds(prompt), continuations)
    (score,) = await engine.score_continuations(weights, TokenIds((5,) * 2040), [(5,) * 8])
    assert len(score.logprobs) == 8
