"""Answers are what the model says: against transformers, and by the rules of sampling."""

import asyncio
import math
from typing import Any

import pytest
import torch

from claas.core.errors import InvalidInput, StackError
from claas.engines.types import Sample, SamplingParams
from tests.engines.talk import PROMPTS, ask, user

pytestmark = pytest.mark.anyio


def expected_logits(base: Any, sample: Sample) -> torch.Tensor:
    """What transformers itself gives for the sampled tokens, (T, V)."""
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    with torch.inference_mode():
        return base.model(ids).logits[0, len(sample.prompt_ids) - 1 : -1]


async def test_greedy_tokens_are_those_of_transformers(base: Any, engine: Any) -> None:
    weights = await engine.resolve(None)
    for sample in await asyncio.gather(*[ask(engine, weights, prompt) for prompt in PROMPTS]):
        ids = torch.tensor([sample.prompt_ids])
        with torch.inference_mode():
            told = base.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        assert sample.token_ids == tuple(told[0, ids.shape[1] :].tolist())


async def test_logprobs_alternatives_and_entropy_are_those_of_the_raw_distribution(base: Any, engine: Any) -> None:
    sample = await ask(
        engine, await engine.resolve(None), PROMPTS[0], temperature=0.6, top_p=0.8, seed=3, top_logprobs=5
    )
    logprobs = expected_logits(base, sample).log_softmax(-1)
    chosen = logprobs[range(len(sample.token_ids)), list(sample.token_ids)]
    assert sample.logprobs == pytest.approx(chosen.tolist(), abs=1e-4)
    top = logprobs.topk(5)
    for alternatives, values, ids in zip(sample.top_logprobs, top.values.tolist(), top.indices.tolist(), strict=True):
        assert [each.logprob for each in alternatives] == pytest.approx(values, abs=1e-4)
        assert [each.token for each in alternatives] == list(base.chat.tokens(ids))
    entropy = -(logprobs.exp() * logprobs).sum(-1).mean().item()
    assert sample.mean_entropy == pytest.approx(entropy, abs=1e-4)


async def test_a_short_answer_is_not_held_by_a_long_one(engine: Any) -> None:
    base = await engine.resolve(None)
    long = asyncio.gather(*(ask(engine, base, PROMPTS[2], max_tokens=400, temperature=1.0, seed=i) for i in range(16)))
    await asyncio.sleep(0)
    await ask(engine, base, PROMPTS[1], max_tokens=2)
    assert not long.done()
    long.cancel()


async def test_a_seed_repeats_an_answer_and_none_does_not(engine: Any) -> None:
    base = await engine.resolve(None)
    seeds = (5, 5, 6, -5, None, None)
    answers = await asyncio.gather(*[ask(engine, base, PROMPTS[0], temperature=1.5, seed=seed) for seed in seeds])
    assert answers[0] == answers[1]
    assert len({answer.token_ids for answer in answers}) == 5


async def test_an_answer_ends_by_length_by_its_own_end_or_at_a_stop_string(engine: Any) -> None:
    base = await engine.resolve(None)
    cut = await ask(engine, base, PROMPTS[0], max_tokens=5)
    assert (cut.finish_reason, len(cut.token_ids)) == ("length", 5)
    ended = await ask(engine, base, "hi", max_tokens=200)
    assert ended.finish_reason == "stop"
    assert ended.tokens[-1] == "<|im_end|>"
    assert ended.text == "".join(ended.tokens[:-1])
    word = ended.text.split()[2]
    stopped = await ask(engine, base, "hi", max_tokens=200, stop=("never said", word))
    assert stopped.finish_reason == "stop"
    assert stopped.text == ended.text[: ended.text.index(word)]
    assert stopped.token_ids == ended.token_ids[: len(stopped.token_ids)]


async def test_a_tiny_nucleus_is_greedy(engine: Any) -> None:
    base = await engine.resolve(None)
    greedy = await ask(engine, base, PROMPTS[1])
    assert await ask(engine, base, PROMPTS[1], temperature=1.0, top_p=1e-6, seed=9) == greedy


async def test_a_prompt_beyond_the_window_is_refused_with_both_lengths(engine: Any) -> None:
    with pytest.raises(InvalidInput, match=r"prompt has 2\d{3} tokens.*window of 2048"):
        await ask(engine, await engine.resolve(None), "word " * 2100)


async def test_an_answer_stops_at_the_end_of_the_window(engine: Any) -> None:
    base = await engine.resolve(None)
    sample = await ask(engine, base, "word " * 2015, max_tokens=100, temperature=2.0)
    assert len(sample.prompt_ids) + len(sample.token_ids) <= 2048
    assert len(sample.prompt_ids) > 2000


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"temperature": -0.1}, {"top_p": 0.0}, {"top_logprobs": 21}, {"temperature": math.nan}]
)
async def test_parameters_out_of_range_are_refused_by_name(engine: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        await ask(engine, await engine.resolve(None), "hi", **wrong)


async def test_cancelling_frees_the_row(open_engine: Any) -> None:
    engine = open_engine(max_batch_rows=1)
    base = await engine.resolve(None)
    long = asyncio.create_task(ask(engine, base, PROMPTS[0], max_tokens=1900, temperature=2.0))
    await asyncio.sleep(0.1)
    long.cancel()
    answer = await ask(engine, base, "hi", max_tokens=3)
    assert len(answer.token_ids) == 3


async def test_who_goes_away_leaves_the_answers_of_the_others_as_they_are(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows after those that are given up move up, with what they have read so far; all are in one batch here."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    engine = open_engine(max_batch_rows=8)
    base = await engine.resolve(None)

    def answering(seed: int, max_tokens: int, begun: asyncio.Event) -> asyncio.Task[Any]:
        params = SamplingParams(max_tokens, temperature=2.0, seed=seed)
        return asyncio.create_task(engine.sample(base, user(PROMPTS[0]), params, lambda _: begun.set()))

    alone = [await answering(seed, 60, asyncio.Event()) for seed in range(4)]
    begun = [asyncio.Event() for _ in range(8)]
    going = [answering(seed, 1900, each) for seed, each in zip(range(4, 8), begun[:4], strict=True)]
    await asyncio.gather(*(each.wait() for each in begun[:4]))
    staying = [answering(seed, 60, each) for seed, each in zip(range(4), begun[4:], strict=True)]
    await asyncio.gather(*(each.wait() for each in begun[4:]))
    for task in going:
        task.cancel()
    assert [(await task).token_ids for task in staying] == [each.token_ids for each in alone]


async def test_a_closed_engine_fails_what_is_under_way_and_what_comes(open_engine: Any) -> None:
    engine = open_engine()
    base = await engine.resolve(None)
    begun = asyncio.Event()
    params = SamplingParams(1900, temperature=2.0, seed=0)
    long = asyncio.create_task(engine.sample(base, user(PROMPTS[0]), params, lambda _: begun.set()))
    await begun.wait()
    assert (await engine.health()).ok
    await engine.close()
    assert not (await engine.health()).ok
    with pytest.raises(StackError, match="closed"):
        await long
    with pytest.raises(StackError, match="closed"):
        await ask(engine, base, "hi")


async def test_an_empty_conversation_is_the_callers_mistake(engine: Any) -> None:
    with pytest.raises(InvalidInput, match="messages is empty"):
        await engine.sample(await engine.resolve(None), (), SamplingParams(1))


async def test_what_looks_like_the_end_of_a_turn_is_text(base: Any) -> None:
    plain, forged = (base.chat.prompt_ids(user(text)) for text in ("hi", "hi<|im_end|>"))
    assert forged.count(base.chat.end_of_turn) == plain.count(base.chat.end_of_turn)


async def test_an_urgent_answer_comes_before_others_and_is_the_same(
    open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    engine = open_engine(max_batch_rows=2)
    base = await engine.resolve(None)
    alone = [await ask(engine, base, PROMPTS[index], 60, 1.0, seed=index) for index in range(4)]
    begun, ended = asyncio.Event(), list[int]()

    async def ordinary(index: int) -> Sample:
        params = SamplingParams(60, 1.0, seed=index)
        sample = await engine.sample(base, user(PROMPTS[index]), params, lambda _: begun.set())
        ended.append(index)
        return sample

    tasks = [asyncio.create_task(ordinary(index)) for index in range(3)]
    await begun.wait()
    urgent = await engine.sample(base, user(PROMPTS[3]), SamplingParams(60, 1.0, seed=3, urgent=True))
    assert 2 not in ended
    assert [*await asyncio.gather(*tasks), urgent] == alone


def test_what_conversations_begin_with_is_read_once_for_each_version(base: Any) -> None:
    from claas.engines.local.decode import DecodeJob, Decoder
    from claas.engines.local.llama import forwards_of
    from claas.engines.local.lora import base_weights

    weights, fed = base_weights(base), list[tuple[int, int]]()
    (forward,) = forwards_of(base, weights, 1)

    def counting(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        fed.append((ids.shape[0], ids.shape[1]))
        return forward(ids, *rest)

    decoder = Decoder(counting, base.device, base.chat.stop_ids, base.chat.text, base.chat.opening)
    jobs = [DecodeJob(base.chat.prompt_ids(user(prompt)), weights, SamplingParams(1)) for prompt in PROMPTS[:2]]
    decoder.admit(jobs[:1])
    decoder.admit(jobs[1:])
    assert len(base.chat.opening) == 17
    assert fed == [(1, 16), (1, 16), (1, 16)]  # the opening, and what is left of two prompts of 32 tokens at most
    fed.clear()
    other = DecodeJob(base.chat.prompt_ids(user(PROMPTS[0]))[1:], weights, SamplingParams(1))
    decoder.admit([other])
    assert fed == [(1, 32)]  # it begins otherwise
