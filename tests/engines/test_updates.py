"""Updates: exactly once, deterministic, resumable, and none when they fail."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import Conflict, InvalidInput, NotFound, StackError
from claas.core.hindsight import with_hindsight
from claas.core.settings import TrainingConfig
from claas.engines.types import AdapterSpec, TrainingItem, Update, UpdateRequest
from tests.engines.talk import CONCISE, PROMPTS, ask, items, teach, user

pytestmark = pytest.mark.anyio

SMALL = AdapterSpec("eval/concise", rank=8, alpha=16)
QUICK = TrainingConfig(teacher_top_k=20, steps_per_batch=1)


async def some_items(engine: Any) -> list[TrainingItem]:
    sample = await ask(engine, await engine.resolve(None), "hi", temperature=0.7)
    return items([sample], ["hi"])


async def test_an_update_makes_the_next_version_and_says_how(engine: Any) -> None:
    before = await engine.init_adapter(SMALL)
    update = await teach(engine, SMALL.lora_id, "key")
    assert (update.weights.version, update.replayed) == (1, False)
    assert update.weights.digest != before.digest
    assert await engine.resolve(SMALL.lora_id) == update.weights
    assert update.metrics["steps_per_batch_applied"] == 4
    assert set(update.timing_ms) == {"load", "distill", "save"}


async def test_a_key_trains_once_even_after_reopening(open_engine: Any) -> None:
    first = open_engine()
    await first.init_adapter(SMALL)
    batch = await some_items(first)
    update = await first.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "key"))
    for engine in (first, open_engine()):
        again = await engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "key"))
        assert again == Update(update.weights, update.metrics, update.timing_ms, replayed=True)
        assert (await engine.resolve(SMALL.lora_id)).version == 1


async def test_the_same_key_twice_at_once_trains_once(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    batch = await some_items(engine)
    both = await asyncio.gather(*[engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "key")) for _ in range(2)])
    assert both[0].weights == both[1].weights
    assert sorted(update.replayed for update in both) == [False, True]


async def test_the_same_updates_give_the_same_bits_interrupted_or_not(open_engine: Any, tmp_path: Path) -> None:
    digests: list[list[str]] = []
    for name, reopened in (("whole", False), ("resumed", True)):
        engine = open_engine(tmp_path / name)
        await engine.init_adapter(SMALL)
        digests.append([])
        for step in range(3):
            if reopened:
                await engine.close()
                engine = open_engine(tmp_path / name)
            digests[-1].append((await teach(engine, SMALL.lora_id, f"{step}", steps_per_batch=2)).weights.digest)
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 3


async def test_an_earlier_version_learns_as_if_nothing_had_come_after_it(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    batch = await some_items(engine)
    first = await engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "first"))
    undone = await engine.update(UpdateRequest(SMALL.lora_id, batch, replace(QUICK, learning_rate=0.01), "undone"))
    again = await engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "again", from_version=0))
    assert (again.weights.version, again.weights.digest) == (3, first.weights.digest)
    assert again.weights.digest != undone.weights.digest
    with pytest.raises(NotFound, match="no version 9"):
        await engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "none", from_version=9))
    assert (await engine.resolve(SMALL.lora_id)).version == 3


async def test_an_update_does_not_depend_on_what_is_decoded_meanwhile_or_trained_before(
    open_engine: Any, tmp_path: Path
) -> None:
    quiet = open_engine(tmp_path / "quiet")
    await quiet.init_adapter(SMALL)
    batch = await some_items(quiet)
    expected = await quiet.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "key"))
    busy = open_engine(tmp_path / "busy")
    for spec in (AdapterSpec("other", rank=8, alpha=16), AdapterSpec("wide", rank=16, alpha=16), SMALL):
        await busy.init_adapter(spec)
    await busy.update(UpdateRequest("other", batch, QUICK, "key"))
    await busy.update(UpdateRequest("wide", batch, QUICK, "key"))
    base = await busy.resolve(None)
    update, *_ = await asyncio.gather(
        busy.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "key")), *[ask(busy, base, prompt) for prompt in PROMPTS]
    )
    assert update.weights == expected.weights
    assert update.metrics == expected.metrics


async def test_a_failed_update_leaves_the_newest_version_and_the_next_one_works(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    batch = await some_items(engine)
    diverging = TrainingConfig(max_grad_norm=0.0)
    diverging.learning_rate = 1e30  # beyond what a caller may ask for
    with pytest.raises(StackError, match=r"(?i)grad_norm|loss|finite|nan|inf"):
        await engine.update(UpdateRequest(SMALL.lora_id, batch, diverging, "bad"))
    assert (await engine.resolve(SMALL.lora_id)).version == 0
    await engine.init_adapter(AdapterSpec("same", rank=8, alpha=16))
    assert (await engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "good"))).weights.version == 1


async def test_what_cannot_be_trained_on_is_refused(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    batch = await some_items(engine)
    with pytest.raises(NotFound):
        await engine.update(UpdateRequest("unknown", batch, QUICK, "key"))
    with pytest.raises(InvalidInput, match="at least one item"):
        await engine.update(UpdateRequest(SMALL.lora_id, [], QUICK, "key"))
    long = TrainingItem(user("hi"), batch[0].prompt_ids, batch[0].token_ids, batch[0].logprobs, "shorter " * 2100)
    with pytest.raises(InvalidInput, match="beyond the window of 2048"):
        await engine.update(UpdateRequest(SMALL.lora_id, [long], QUICK, "key"))


async def test_feedback_that_the_teacher_would_not_read_is_refused(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    (item,) = await some_items(engine)
    teachers = await engine.encode(with_hindsight(item.messages, item.feedback, QUICK.feedback_repetitions))
    with pytest.raises(InvalidInput, match="leaves out the user's last turn"):
        await engine.update(UpdateRequest(SMALL.lora_id, [replace(item, prompt_ids=teachers.ids)], QUICK, "key"))
    assert (await engine.resolve(SMALL.lora_id)).version == 0


async def test_sft_makes_the_answers_likelier_and_needs_no_room_for_feedback(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    (item,) = await some_items(engine)
    long = replace(item, feedback="shorter " * 2100)
    update = await engine.update(
        UpdateRequest(SMALL.lora_id, [long], replace(QUICK, objective="sft", steps_per_batch=3), "key")
    )
    assert update.metrics["cross_entropy_last"] < update.metrics["cross_entropy_first"]
    assert update.metrics["cross_entropy_first"] == pytest.approx(-sum(item.logprobs) / len(item.logprobs), rel=1e-3)


async def test_an_adapter_that_is_being_updated_is_a_conflict_in_time(open_engine: Any) -> None:
    engine = open_engine(lock_timeout_s=0.01)
    await engine.init_adapter(SMALL)
    batch = await some_items(engine)
    long = asyncio.create_task(
        engine.update(UpdateRequest(SMALL.lora_id, batch * 4, TrainingConfig(steps_per_batch=8), "long"))
    )
    await asyncio.sleep(0.005)
    with pytest.raises(Conflict, match="is being updated"):
        await engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "short"))
    assert (await long).weights.version == 1


async def test_a_cancelled_update_is_finished_and_its_receipt_kept(engine: Any) -> None:
    await engine.init_adapter(SMALL)
    batch = await some_items(engine)
    task = asyncio.create_task(engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "key")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await engine.update(UpdateRequest(SMALL.lora_id, batch, QUICK, "key"))).replayed


async def test_concise_feedback_makes_short_answers_likelier(engine: Any) -> None:
    weights = await engine.init_adapter(AdapterSpec("eval/concise", rank=16, alpha=32))
    prompts = ("What is a volcano?", "Why is the sky blue?", "What is gravity?", "Tell me about coffee.")
    long = (await ask(engine, weights, "What is a rainbow?", 100)).text
    before = await margin(engine, weights, long)
    for step in range(4):
        samples = await asyncio.gather(
            *[ask(engine, weights, prompt, 60, 0.7, seed=step * 10 + index) for index, prompt in enumerate(prompts)]
        )
        training = TrainingConfig(teacher_top_k=20)
        weights = (
            await engine.update(UpdateRequest("eval/concise", items(samples, prompts, CONCISE), training, f"{step}"))
        ).weights
    assert await margin(engine, weights, long) > before + 3.0


async def margin(engine: Any, weights: Any, long: str) -> float:
    """How much likelier (nats) the first sentence alone is than the whole long answer."""
    first = long.split(". ")[0] + "."
    short_score, long_score = [await engine.score(weights, user("What is a rainbow?"), text) for text in (first, long)]
    return sum(short_score.logprobs) - sum(long_score.logprobs)
