"""One update per idempotency key: replayed, raced, crashed, or used for something else."""

import asyncio
from pathlib import Path

import pytest

from claas.core.errors import StackError
from tests.api.client import LORA, error, item, ok, running, serving, settings
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio


class Crash(BaseException):
    """The process died: nothing above may handle it."""


async def test_the_same_key_gets_the_first_receipt_again(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        said = item("Hi", await api.said("Hi"))
        first = await api.feedback(said, key="k")
        await api.feedback(item("Hi", await api.said("Hi")), key="other")
        assert await api.feedback(said, key="k") == first
    async with serving(tmp_path, engine) as api:  # and after a restart
        assert await api.feedback(said, key="k") == first
    assert [trained.key for trained in engine.trained] == ["k", "other"]
    assert len(list((tmp_path / "feedback").iterdir())) == 2


async def test_without_a_key_every_request_trains(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        said = item("Hi", await api.said("Hi"))
        receipts = [await api.feedback(said) for _ in range(2)]
    assert [receipt.version for receipt in receipts] == [1, 2]
    assert len({trained.key for trained in engine.trained}) == 2


async def test_a_key_in_flight_twice_trains_once(tmp_path: Path, engine: FakeEngine) -> None:
    engine.update_s = 0.05
    async with serving(tmp_path, engine) as api:
        said = item("Hi", await api.said("Hi"))
        receipts = await asyncio.gather(*(api.feedback(said, key="k") for _ in range(5)))
    assert receipts == [receipts[0]] * 5
    assert len(engine.trained) == 1


async def test_a_key_used_for_other_feedback_is_a_conflict(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Hi")
        await api.feedback(item("Hi", choice), key="k")
        for changed in ({"feedback": "Longer!"}, {"training": {"alpha": 0.1}}):
            assert "'k' was used for other feedback" in error(
                await api.try_feedback(item("Hi", choice, **changed), key="k"), 409
            )
        error(await api.try_feedback(item("Hi", choice), item("Hi", choice), key="k"), 409)
    assert len(engine.trained) == 1


async def test_a_key_in_flight_for_other_feedback_is_a_conflict(tmp_path: Path, engine: FakeEngine) -> None:
    engine.update_s = 0.05
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Hi")
        responses = await asyncio.gather(
            api.try_feedback(item("Hi", choice), key="k"),
            api.try_feedback(item("Hi", choice, feedback="Longer!"), key="k"),
        )
    assert [response.status_code for response in responses] == [200, 409]
    assert len(engine.trained) == 1


async def test_the_same_words_on_another_recording_are_the_same_feedback(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        first, again = await api.said("Hi", seed=1), await api.said("Hi", seed=1)
        receipt = await api.feedback(item("Hi", first, rollout_id=first.rollout_id), key="k")
        assert await api.feedback(item("Hi", again, rollout_id=again.rollout_id), key="k") == receipt
    assert len(engine.trained) == 1


async def test_a_crash_after_the_update_was_saved_neither_loses_nor_repeats_it(
    tmp_path: Path, engine: FakeEngine
) -> None:
    def crash() -> None:
        raise Crash

    async with running(engine, settings(tmp_path)) as api:
        await api.init()
        choice = await api.said("Hi")
        engine.after_save = crash
        with pytest.raises(Crash):
            await api.feedback(item("Hi", choice), key="k")
    assert len(engine.trained) == 1
    engine.after_save = lambda: None
    async with serving(tmp_path, engine) as api:
        error(await api.try_feedback(item("Hi", choice, feedback="Longer!"), key="k"), 409)
        receipt = await api.feedback(item("Hi", choice), key="k")
        assert await api.feedback(item("Hi", choice), key="k") == receipt
    assert (receipt.version, receipt.digest) == (1, engine.adapters[LORA][1].digest)
    assert len(engine.trained) == 1


async def test_a_crash_before_the_update_was_saved_lets_the_key_train(tmp_path: Path, engine: FakeEngine) -> None:
    def crash() -> None:
        raise Crash

    async with running(engine, settings(tmp_path)) as api:
        await api.init()
        choice = await api.said("Hi")
        engine.before_save = crash
        with pytest.raises(Crash):
            await api.feedback(item("Hi", choice), key="k")
    engine.before_save = lambda: None
    async with serving(tmp_path, engine) as api:
        assert (await api.feedback(item("Hi", choice), key="k")).version == 1
    assert len(engine.trained) == 1


async def test_a_client_that_went_away_gets_its_receipt_when_it_asks_again(tmp_path: Path, engine: FakeEngine) -> None:
    engine.update_s = 0.2
    async with serving(tmp_path, engine) as api:
        said = item("Hi", await api.said("Hi"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(api.feedback(said, key="k"), 0.05)
        assert (await api.feedback(said, key="k")).version == 1
    assert len(engine.trained) == 1


async def test_a_receipt_does_not_outlive_its_adapter(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        said = item("Hi", await api.said("Hi"))
        await api.feedback(said, key="k")
        ok(await api.http.delete("/v1/lora", params={"lora_id": LORA}))
        error(await api.try_feedback(said, key="k"), 404)
        await api.init()
        assert (await api.feedback(said, key="k")).version == 1
    assert len(engine.trained) == 2


async def test_a_key_whose_update_failed_says_so_to_other_feedback(tmp_path: Path, engine: FakeEngine) -> None:
    def fail() -> None:
        raise StackError("the disk is full")

    async with serving(tmp_path, engine) as api:
        said = item("Hi", await api.said("Hi"))
        engine.before_save = fail
        error(await api.try_feedback(said, key="k"), 503)
        engine.before_save = lambda: None
        refused = error(await api.try_feedback(said | {"training": {"alpha": 0.1}}, key="k"), 409)
        assert "'k' was used for other feedback, of which no update is on record" in refused
        assert (await api.feedback(said, key="k")).version == 1


async def test_a_request_has_one_key(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        body = {"requests": [item("Hi", await api.said("Hi"))]}
        twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        assert "Idempotency-Key" in error(await api.http.post("/v1/feedback", json=body, headers=twice), 422)
    assert engine.trained == []


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_has_a_length(tmp_path: Path, engine: FakeEngine, key: str) -> None:
    async with serving(tmp_path, engine) as api:
        response = await api.try_feedback(item("Hi", await api.said("Hi")), key=key)
    assert "Idempotency-Key" in error(response, 422)
    assert engine.trained == []
