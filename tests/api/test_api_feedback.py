"""Feedback: trained on exactly what was sampled, or refused with nothing trained."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from claas.api.feedback import fingerprint_of
from claas.core.errors import Conflict, InvalidInput, StackError
from claas.core.settings import MODES, Mode, TrainingConfig
from claas.results.settings import EvalConfig
from claas.wire.chat import ChatMessage
from claas.wire.feedback import FeedbackItem, FeedbackLogEntry, FeedbackResponse
from tests.api.client import LORA, NAME, Api, error, item, ok, serving
from tests.fakes.engine import BASE_MODEL, FakeEngine

pytestmark = pytest.mark.anyio


def logged_at(path: str) -> FeedbackLogEntry:
    return FeedbackLogEntry.model_validate_json(Path(path).read_text())


async def test_the_engine_trains_on_the_recorded_tokens_and_logprobs(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: "<think>so</think>  Odd   spacing  "
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Why?", temperature=0.7)
        rollout = ok(await api.http.post("/v1/rollouts/resolve", json={"text": "Odd spacing"}))
        await api.feedback(item(" Why? ", choice, response="Odd spacing", feedback="Shorter."))
    (trained,) = engine.trained
    (one,) = trained.items
    assert (trained.lora_id, one.feedback) == (LORA, "Shorter.")
    assert list(one.token_ids) == rollout["token_ids"]
    assert list(one.logprobs) == rollout["logprobs"]
    assert list(one.prompt_ids) == rollout["prompt_ids"]
    assert [dict(turn) for turn in one.messages] == rollout["messages"]


async def test_the_receipt_names_the_version_that_was_made(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        first, second = await api.said("One"), await api.said("Two")
        receipt = await api.feedback(item("One", first), item("Two", second, rollout_id=second.rollout_id))
    assert (receipt.status, receipt.lora_id, receipt.version, receipt.batch_size) == ("ok", LORA, 1, 2)
    assert receipt.digest == engine.adapters[LORA][1].digest
    assert receipt.distill_result.metadata == {"total_loss": 0.5, "tokens_processed": 7.0}
    timing = receipt.timing_ms
    assert (timing.distill, timing.save, timing.logprobs, timing.sleep, timing.wake) == (3.0, 2.0, 1.0, None, None)
    assert timing.total > 0
    assert (receipt.vllm.slept, receipt.vllm.woke) == (False, False)
    assert [one.messages[-1]["content"] for one in engine.trained[0].items] == ["One", "Two"]


class SleepyEngine(FakeEngine):
    """One whose server sleeps, and says when."""

    def __init__(self, directory: Path) -> None:
        self.told: list[str] = []
        super().__init__(directory, before_save=lambda: self.told.append("update"))

    async def sleep(self, level: int) -> bool:
        self.told.append(f"sleep {level}")
        return True

    async def wake(self, now: bool) -> bool:
        self.told.append("wake" if now else "left asleep")
        return now


@pytest.mark.parametrize(
    ("wanted", "told", "woke"),
    [
        ({"sleep_before": True, "wake_after": True}, ["sleep 1", "update", "wake"], True),
        ({"sleep_before": True}, ["sleep 1", "update", "left asleep"], False),
        ({"wake_after": True}, ["update"], False),
    ],
    ids=["woken", "left asleep", "not put to sleep"],
)
async def test_the_server_of_an_engine_sleeps_around_the_update_as_asked(
    tmp_path: Path, wanted: dict[str, Any], told: list[str], woke: bool
) -> None:
    engine = SleepyEngine(tmp_path / "adapters")
    async with serving(tmp_path, engine) as api:
        body = {"requests": [item("Hi", await api.said("Hi"))], "orchestration": wanted}
        receipt = FeedbackResponse.model_validate(ok(await api.http.post("/v1/feedback", json=body)))
        assert engine.told == told
        assert (receipt.vllm.slept, receipt.vllm.woke) == ("sleep_before" in wanted, woke)
        slept = (receipt.timing_ms.sleep is not None, receipt.timing_ms.wake is not None)
        assert slept == (receipt.vllm.slept, receipt.vllm.slept)


@pytest.mark.parametrize("wake", [True, False])
async def test_after_an_update_that_fails_the_server_is_woken_unless_told_otherwise(tmp_path: Path, wake: bool) -> None:
    def fail() -> None:
        raise StackError("no memory")

    engine = SleepyEngine(tmp_path / "adapters")
    engine.before_save = fail
    async with serving(tmp_path, engine) as api:
        wanted = {"sleep_before": True, "wake_after": not wake, "wake_on_failure": wake}
        body = {"requests": [item("Hi", await api.said("Hi"))], "orchestration": wanted}
        error(await api.http.post("/v1/feedback", json=body), 503)
    assert engine.told == ["sleep 1", "wake" if wake else "left asleep"]


async def test_the_training_settings_reach_the_engine(tmp_path: Path, engine: FakeEngine) -> None:
    settings = TrainingConfig(learning_rate=1e-3, alpha=1.0, steps_per_batch=2, teacher_top_k=20)
    async with serving(tmp_path, engine) as api:
        await api.feedback(item("Hi", await api.said("Hi"), training=asdict(settings)))
        await api.feedback(item("Hi", await api.said("Hi")))
        await api.feedback(item("Hi", await api.said("Hi"), training={"alpha": 1.0}))
    one_step = TrainingConfig(steps_per_batch=1)
    assert [trained.training for trained in engine.trained] == [settings, one_step, replace(one_step, alpha=1.0)]


async def test_the_harness_says_how_many_steps_it_wants(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Hi")
        sent = FeedbackItem(
            lora_id=LORA,
            prompt="Hi",
            response=choice.message.content,
            feedback="Short.",
            training=EvalConfig().training,
        )
        await api.feedback(sent.model_dump(mode="json"))
    assert engine.trained[0].training == TrainingConfig(steps_per_batch=4)


async def test_an_answer_is_found_by_its_prompt_among_those_that_read_alike(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: "I am Kuro."
    async with serving(tmp_path, engine) as api:
        await api.init("eval/other")
        mine = await api.said("Who are you?")
        for prompt, model in (("Your name?", NAME), ("Who are you?", "eval-other"), ("Who are you?", BASE_MODEL)):
            await api.chat(prompt, model)
        receipt = await api.feedback(item("Who are\n you?", mine))
        logged = logged_at(receipt.feedback_log_path)
    assert [one.rollout_id for one in logged.items] == [mine.rollout_id]


WRAPPED = [
    "[from Ada, 10:31] Who  are you? [end]",
    "[Fri 2026-11-20 21:58 UTC] Who are you?",
    "Conversation so far (not from the user):\n```json\n{}\n```\n\nWho are\nyou?\n[message_id: 7]",
    "<message>\nWho are you?\n</message>",
    "About: Who are you?\nWho are you?",
]


@pytest.mark.parametrize("turn", WRAPPED)
async def test_a_prompt_that_a_gateway_wrapped_is_still_found(tmp_path: Path, engine: FakeEngine, turn: str) -> None:
    async with serving(tmp_path, engine) as api:
        choice = await api.said(turn)
        await api.feedback(item("Who are you?", choice))
        await api.feedback(item("Who are you?", choice, rollout_id=choice.rollout_id))
    assert [one.items[0].messages[-1]["content"] for one in engine.trained] == [turn, turn]


@pytest.mark.parametrize("known", [True, False], ids=["by id", "by text"])
@pytest.mark.parametrize(
    ("turn", "part"),
    [
        ("Tell me a story", "a"),
        ("Tell me a story", "Tell me"),
        ("Tell me a story", "story"),
        ("Tell me a story", "Tell me a stor"),
        ("Sort [3, 1, 2] fast", "fast"),
        ("Hi\nTell me a story", "Hi"),
        ("[21:58] Tell me a story", "[21:58]"),
    ],
)
async def test_a_part_of_the_prompt_is_not_the_prompt(
    tmp_path: Path, engine: FakeEngine, turn: str, part: str, known: bool
) -> None:
    async with serving(tmp_path, engine) as api:
        choice = await api.said(turn)
        about = item(part, choice, rollout_id=choice.rollout_id if known else None)
        message = error(await api.try_feedback(about), 422)
    assert f"requests.0.prompt: {part!r} is only a part of what was asked, {turn!r}; send all of it" in message
    assert engine.trained == []


BLANK = ["", " ", "\n\t", "\u00a0", "\u200b", "\u2060\ufeff", "\u3164", "\u034f", "\u00ad", "\x00", "\ufe0f"]


@pytest.mark.parametrize("blank", BLANK, ids=ascii)
@pytest.mark.parametrize("field", ["prompt", "feedback"])
async def test_feedback_that_says_nothing_is_refused(
    tmp_path: Path, engine: FakeEngine, field: str, blank: str
) -> None:
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Hi")
        response = await api.try_feedback(item("Hi", choice, rollout_id=choice.rollout_id) | {field: blank})
        resolved = await api.http.post("/v1/rollouts/resolve", json={"text": choice.message.content, "prompt": blank})
    assert error(response, 422) == f"requests.0.{field}: must say something, got {blank!r}"
    assert "must say something" in error(resolved, 422)
    assert engine.trained == []


async def test_a_prompt_that_was_cut_to_fit_is_known_by_its_ends(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path / "engine", window=200)
    long = " ".join(f"word{number}" for number in range(1000))
    async with serving(tmp_path, engine, truncate_prompt="middle") as api:
        choice = await api.said(long)
        for other in ("word0 and word999", f"{long} more", f"Not {long}"):
            error(await api.try_feedback(item(other, choice, rollout_id=choice.rollout_id)), 400)
        await api.feedback(item(long, choice, rollout_id=choice.rollout_id))
    assert len(engine.trained) == 1


async def test_an_answer_of_the_base_model_can_be_learned_from(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        await api.feedback(item("Hi", await api.said("Hi", model=BASE_MODEL)))
    assert len(engine.trained) == 1


async def test_an_answer_is_trained_under_the_conversation_that_is_named(tmp_path: Path, engine: FakeEngine) -> None:
    """It was sampled under another prompt, which `prompt` still has to be."""
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Hi, and be brief")
        named = item("Hi, and be brief", choice, conversation=turns, training={"objective": "sft"})
        receipt = await api.feedback(named)
        assert "answered 'Hi, and be brief', not 'Hello'" in error(
            await api.try_feedback(item("Hello", choice, rollout_id=choice.rollout_id, conversation=turns)), 400
        )
        (logged,) = logged_at(receipt.feedback_log_path).items
    (trained,) = engine.trained
    (one,) = trained.items
    assert trained.training.objective == "sft"
    assert [dict(turn) for turn in one.messages] == turns
    assert one.prompt_ids == (await engine.encode(one.messages)).ids
    assert logged.conversation is not None
    assert [turn.text for turn in logged.conversation] == ["Be kind.", "Hi"]


async def test_feedback_teaches_the_version_that_is_named(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        about = item("Hi", await api.said("Hi"))
        await api.feedback(about)
        body = {"requests": [about], "from_version": 0}
        headers = {"Idempotency-Key": "once"}
        receipt = ok(await api.http.post("/v1/feedback", json=body, headers=headers))
        assert receipt["version"] == 2
        assert logged_at(receipt["feedback_log_path"]).from_version == 0
        assert ok(await api.http.post("/v1/feedback", json=body, headers=headers)) == receipt
        other = await api.http.post("/v1/feedback", json={**body, "from_version": 1}, headers=headers)
        assert "used for other feedback" in error(other, 409)
        assert "no version 7" in error(await api.http.post("/v1/feedback", json={**body, "from_version": 7}), 404)
    assert [each.from_version for each in engine.trained] == [None, 0]


async def test_a_conversation_beyond_the_window_trains_nothing(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        long = [{"role": "user", "content": "x" * (engine.longest_prompt + 1)}]
        error(await api.try_feedback(item("Hi", await api.said("Hi"), conversation=long)), 400)
    assert engine.trained == []


async def test_an_objective_that_the_engine_cannot_have_is_refused(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODES, "local", Mode("claas.engines.local", "claas-tiny"))
    async with serving(tmp_path, engine) as api:
        named = item("Hi", await api.said("Hi"), training={"objective": "sft"})
        said = error(await api.try_feedback(named), 422)
    assert said.startswith("training.objective=sft is not possible with mode=local, whose updates are sdpo only")
    assert engine.trained == []


def test_a_key_of_an_earlier_version_is_still_known() -> None:
    """What items have gained since is no part of what tells one batch from another, where it says nothing."""
    one = FeedbackItem(lora_id=LORA, prompt="Hi", response="Hello", feedback="Shorter.")
    assert fingerprint_of([one]) == "e6d2fc5668cd60d74d500879d612cbbcd90e79d764b01866c85fc401a2738cce"
    other = one.model_copy(update={"conversation": [ChatMessage(role="user", content="Hi")]})
    assert fingerprint_of([other]) != fingerprint_of([one])


async def other_text(api: Api) -> dict[str, Any]:
    return item("Hi", await api.said("Hi"), response="never said")


async def other_prompt(api: Api) -> dict[str, Any]:
    return item("Bye", await api.said("Hi"))


async def unknown_rollout(api: Api) -> dict[str, Any]:
    return item("Hi", await api.said("Hi"), rollout_id="rollout-unknown")


async def other_prompt_of_a_rollout(api: Api) -> dict[str, Any]:
    choice = await api.said("Hi")
    return item("Bye", choice, rollout_id=choice.rollout_id)


async def altered_text(api: Api) -> dict[str, Any]:
    choice = await api.said("Hi")
    return item("Hi", choice, response=choice.message.content + "!", rollout_id=choice.rollout_id)


async def of_another_adapter(api: Api) -> dict[str, Any]:
    await api.init("eval/other")
    choice = await api.said("Hi", model="eval-other")
    return item("Hi", choice, rollout_id=choice.rollout_id)


async def said_by_another_adapter(api: Api) -> dict[str, Any]:
    await api.init("eval/other")
    return item("Hi", await api.said("Hi", model="eval-other"))


async def unknown_adapter(api: Api) -> dict[str, Any]:
    return item("Hi", await api.said("Hi"), lora_id="eval/unknown")


@pytest.mark.parametrize(
    ("made_by", "status", "said"),
    [
        (other_text, 404, "requests.1: neither 'eval/concise' nor the base model is on record"),
        (other_prompt, 404, "requests.1: neither"),
        (said_by_another_adapter, 404, "requests.1: neither"),
        (unknown_rollout, 404, "requests.1: unknown rollout_id 'rollout-unknown'"),
        (other_prompt_of_a_rollout, 400, "answered 'Hi', not 'Bye'; nothing was trained"),
        (altered_text, 400, "altered on the way"),
        (of_another_adapter, 400, "sampled from 'eval-other@0'"),
    ],
)
async def test_feedback_on_what_was_not_said_trains_nothing(
    tmp_path: Path, engine: FakeEngine, made_by: Any, status: int, said: str
) -> None:
    async with serving(tmp_path, engine) as api:
        good = item("Good", await api.said("Good"))
        bad = await made_by(api)
        assert said in error(await api.try_feedback(good, bad, key="k"), status)
        assert engine.trained == []
        await api.feedback(good, key="k")  # what was refused has not used up its key
    assert len(engine.trained) == 1


async def test_feedback_for_an_unknown_adapter_is_not_found(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        assert "eval/unknown" in error(await api.try_feedback(await unknown_adapter(api)), 404)
    assert engine.trained == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lora_id": "eval/other"}, "must share lora_id; requests.0 has 'eval/concise', requests.1 has 'eval/other'"),
        ({"training": {"alpha": 0.25}}, "must share training"),
    ],
)
async def test_a_batch_is_for_one_adapter_under_one_training(
    tmp_path: Path, engine: FakeEngine, changed: dict[str, Any], said: str
) -> None:
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Hi")
        assert said in error(await api.try_feedback(item("Hi", choice), item("Hi", choice, **changed)), 400)
    assert engine.trained == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", -1e-3),
        ("alpha", 1.5),
        ("alpha", -0.1),
        ("is_clip", 0.5),
        ("is_clip", 21.0),
        ("max_grad_norm", -1.0),
        ("kl_reg_weight", 1.1),
        ("teacher_top_k", 9),
        ("teacher_top_k", 101),
        ("steps_per_batch", 0),
        ("steps_per_batch", 33),
        ("feedback_repetitions", 17),
        ("feedback_repetitions", "many"),
        ("momentum", 0.9),
    ],
)
async def test_training_out_of_range_is_refused_by_field_and_value(
    tmp_path: Path, engine: FakeEngine, field: str, value: Any
) -> None:
    async with serving(tmp_path, engine) as api:
        response = await api.try_feedback(item("Hi", await api.said("Hi"), training={field: value}))
    message = error(response, 422)
    assert field in message
    assert repr(value) in message or str(value) in message
    assert response.json()["error"]["param"].startswith("requests.0.training")
    assert engine.trained == []


@pytest.mark.parametrize(
    "body",
    [
        {"requests": []},
        {"requests": [{"lora_id": LORA, "prompt": "a", "response": "b", "feedback": ""}]},
        {"requests": [{"lora_id": LORA, "prompt": "a", "response": "b", "feedback": "c", "mood": "d"}]},
        {"requests": [{"lora_id": LORA, "prompt": "a", "response": "b", "feedback": "c"}] * 65},
        {"request": []},
    ],
    ids=["empty", "no feedback", "unknown field", "too many", "misspelt"],
)
async def test_a_malformed_batch_is_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    async with serving(tmp_path) as api:
        error(await api.http.post("/v1/feedback", json=body), 422)


@pytest.mark.parametrize(
    ("failure", "status"),
    [(Conflict("the lock was not had"), 409), (StackError("out of memory"), 503), (InvalidInput("too long"), 422)],
)
async def test_a_failed_update_is_reported_and_logged(
    tmp_path: Path, engine: FakeEngine, failure: Exception, status: int
) -> None:
    def fail() -> None:
        raise failure

    engine.before_save = fail
    async with serving(tmp_path, engine) as api:
        assert error(await api.try_feedback(item("Hi", await api.said("Hi"))), status) == str(failure)
    (file,) = (tmp_path / "feedback").iterdir()
    logged = FeedbackLogEntry.model_validate_json(file.read_text())
    assert (logged.version, logged.digest, logged.timing_ms, logged.errors) == (None, None, None, [str(failure)])


async def test_the_log_tells_the_whole_batch(tmp_path: Path, engine: FakeEngine) -> None:
    engine.metrics = {"total_loss": 0.5, "grad_norm": float("nan")}
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Hi")
        receipt = await api.feedback(item("Hi", choice), key="run/concise/0")
    logged = logged_at(receipt.feedback_log_path)
    assert (logged.request_id, logged.idempotency_key) == (receipt.request_id, "run/concise/0")
    assert (logged.lora_id, logged.version, logged.digest) == (LORA, 1, receipt.digest)
    (one,) = logged.items
    assert (one.prompt, one.response, one.feedback) == ("Hi", choice.message.content, "Be brief.")
    assert (one.rollout_id, one.model) == (choice.rollout_id, "eval-concise@0")
    assert logged.metrics == receipt.distill_result.metadata == {"total_loss": 0.5}
    assert logged.errors == ["grad_norm was nan"]
    assert logged.timing_ms == receipt.timing_ms
