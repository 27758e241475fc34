"""An answer's tokens and logprobs are the same bits whatever it is decoded with."""

import asyncio
from typing import Any

import pytest

from claas.engines.types import AdapterSpec, Sample, Weights
from tests.engines.talk import PROMPTS, ask, teach

pytestmark = pytest.mark.anyio


async def taught(engine: Any, lora_id: str, rounds: int = 1) -> Weights:
    weights = await engine.init_adapter(AdapterSpec(lora_id, rank=8, alpha=16))
    for step in range(rounds):
        weights = (await teach(engine, lora_id, f"{step}", steps_per_batch=2, learning_rate=1e-2)).weights
    return weights


async def one(engine: Any, weights: Weights, index: int) -> Sample:
    """The index-th of a family of different requests."""
    return await ask(
        engine,
        weights,
        PROMPTS[index % len(PROMPTS)],
        max_tokens=5 + 9 * (index % 7),
        temperature=(0.0, 1.0, 0.7)[index % 3],
        top_p=(1.0, 0.9)[index % 2],
        stop=(".",) if index % 5 == 4 else (),
        seed=index,
        top_logprobs=index % 4,
    )


@pytest.mark.parametrize("others", [1, 3, 20])
async def test_an_answer_is_the_same_alone_and_among_others(engine: Any, others: int) -> None:
    base = await engine.resolve(None)
    alone = [await one(engine, base, index) for index in range(3)]
    together = await asyncio.gather(*[one(engine, base, index) for index in range(3 + others)])
    assert together[:3] == alone


async def test_an_answer_is_the_same_beside_other_adapters(engine: Any) -> None:
    versions = [await engine.resolve(None), await taught(engine, "a"), await taught(engine, "b", rounds=2)]
    wanted = [(versions[index % 3], index) for index in range(12)]
    alone = [await one(engine, weights, index) for weights, index in wanted]
    together = await asyncio.gather(*[one(engine, weights, index) for weights, index in wanted])
    assert together == alone
    assert len({sample.logprobs for sample in alone}) == len(alone)


async def test_an_answer_is_the_same_when_others_join_and_leave_midway(engine: Any) -> None:
    versions = [await engine.resolve(None), await taught(engine, "a")]
    wanted = [(versions[index % 2], index) for index in range(10)]
    alone = [await one(engine, weights, index) for weights, index in wanted]
    tasks: list[asyncio.Task[Sample]] = []
    for weights, index in wanted:
        tasks.append(asyncio.create_task(one(engine, weights, index)))
        await asyncio.sleep(0.01)
    assert [await task for task in tasks] == alone


async def test_few_rows_at_a_time_give_the_same_answers(open_engine: Any) -> None:
    answers: list[list[Sample]] = []
    for rows in (2, 32):
        engine = open_engine(max_batch_rows=rows)
        base = await engine.resolve(None)
        answers.append(await asyncio.gather(*[one(engine, base, index) for index in range(8)]))
    assert answers[0] == answers[1]


async def test_a_score_is_the_same_alone_and_among_others(engine: Any) -> None:
    versions = [await engine.resolve(None), await taught(engine, "a")]
    wanted = [
        (versions[index % 2], ({"role": "user", "content": PROMPTS[index % 7]},), "It is hot. " * (1 + index % 5))
        for index in range(24)
    ]
    alone = [await engine.score(*arguments) for arguments in wanted]
    assert await asyncio.gather(*[engine.score(*arguments) for arguments in wanted]) == alone


async def test_a_version_without_updates_answers_exactly_as_the_base_model(engine: Any) -> None:
    base = await engine.resolve(None)
    fresh = await engine.init_adapter(AdapterSpec("fresh"))
    for index in range(4):
        expected = await one(engine, base, index)
        answer = await one(engine, fresh, index)
        assert (answer.token_ids, answer.logprobs) == (expected.token_ids, expected.logprobs)
        assert answer.weights == fresh
