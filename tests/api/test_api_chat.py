"""Chat: names, sampling settings, OpenAI's shape, and which weights answered."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from claas.engines.types import AdapterSpec
from claas.wire.chat import ChatMessage
from tests.api.client import LORA, NAME, error, item, ok, serving
from tests.fakes.engine import BASE_MODEL, FakeEngine

pytestmark = pytest.mark.anyio


async def test_an_answer_says_which_weights_made_it(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        reply = await api.chat("Hello there")
    newest = engine.adapters[LORA][0]
    assert (reply.model, reply.system_fingerprint) == ("eval-concise@0", newest.digest)
    assert reply.choices[0].message.content == "eval-concise@0 heard Hello there under seed None"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.choices[0].mean_entropy == 1.25
    assert reply.choices[0].logprobs is None
    assert reply.usage.completion_tokens == 8
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 8


async def test_a_name_means_the_newest_version_unless_it_pins_one(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        await api.feedback(item("Hi", await api.said("Hi")))
        answered = {name: (await api.chat(model=name)).model for name in (NAME, LORA, f"{NAME}@0", f"{LORA}@1")}
        base = await api.chat(model=BASE_MODEL)
    assert answered == {NAME: "eval-concise@1", LORA: "eval-concise@1", f"{NAME}@0": "eval-concise@0"} | {
        f"{LORA}@1": "eval-concise@1"
    }
    assert base.model == BASE_MODEL


@pytest.mark.parametrize("name", ["nobody", f"{NAME}@9", f"{NAME}@", f"{NAME}@x", "@1", "", "../../etc", "a\nb"])
async def test_an_unknown_model_is_not_found(tmp_path: Path, engine: FakeEngine, name: str) -> None:
    async with serving(tmp_path, engine) as api:
        error(await api.try_chat(model=name), 404)
    assert engine.sampled == []


async def test_an_unknown_model_is_told_the_known_ones(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert error(await api.try_chat(model="nobody"), 404) == f"unknown model 'nobody'; known: {BASE_MODEL}, {NAME}"


async def test_an_adapter_made_or_deleted_later_is_seen(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        error(await api.try_chat(model="eval-late"), 404)
        await api.init("eval/late")
        assert (await api.chat(model="eval-late")).model == "eval-late@0"
        ok(await api.http.delete("/v1/lora", params={"lora_id": "eval/late"}))
        error(await api.try_chat(model="eval-late"), 404)
        await engine.init_adapter(AdapterSpec("eval-late"))
        assert (await api.chat(model="eval-late@0")).system_fingerprint == engine.adapters["eval-late"][0].digest


async def test_choices_are_sampled_together_with_seeds_of_their_own(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        reply = await api.chat(n=3, seed=40)
        unseeded = await api.chat(n=2)
    assert [sampled.params.seed for sampled in engine.sampled] == [40, 41, 42, None, None]
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert [choice.message.content[-2:] for choice in reply.choices] == ["40", "41", "42"]
    assert len({choice.rollout_id for choice in (*reply.choices, *unseeded.choices)}) == 5
    assert reply.usage.completion_tokens == 3 * 7


async def test_one_choice_that_fails_fails_the_request(tmp_path: Path, engine: FakeEngine) -> None:
    def script(weights: object, messages: object, params: Any) -> str:
        if params.seed == 1:
            raise RuntimeError("broken")
        return "fine"

    engine.script = script
    async with serving(tmp_path, engine) as api:
        message = error(await api.try_chat(n=3, seed=0), 500)
    assert "RuntimeError" in message
    assert "broken" not in message


async def test_sampling_settings_reach_the_engine(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        await api.chat(max_tokens=9, temperature=0, top_p=0.5, stop="END", seed=7, logprobs=True, top_logprobs=3)
        await api.chat(max_tokens=9, max_completion_tokens=11, stop=["a", "b"], frequency_penalty=0.0)
        await api.chat(temperature=None, top_p=None, stop=None, seed=None, max_tokens=None, logprobs=None, n=None)
    first, second, third = (sampled.params for sampled in engine.sampled)
    assert (first.max_tokens, first.temperature, first.top_p, first.stop) == (9, 0.0, 0.5, ("END",))
    assert (first.seed, first.top_logprobs) == (7, 3)
    assert (second.max_tokens, second.stop) == (11, ("a", "b"))
    assert (third.max_tokens, third.temperature, third.top_p, third.stop, third.seed) == (512, 1.0, 1.0, (), None)


async def test_a_cut_answer_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        choice = await api.said(max_tokens=2)
    assert (choice.finish_reason, choice.message.content) == ("length", "eval-concise@0 heard")


async def test_logprobs_come_only_when_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        choice = await api.said(logprobs=True, top_logprobs=2)
        plain = await api.said(logprobs=True)
    assert choice.logprobs is not None
    first = choice.logprobs.content[0]
    assert (first.token, first.logprob, first.bytes) == ("eval-concise@0", -0.1, list(b"eval-concise@0"))
    assert [(other.token, other.logprob) for other in first.top_logprobs] == [("other0", -1.0), ("other1", -2.0)]
    assert plain.logprobs is not None
    assert plain.logprobs.content[0].top_logprobs == []


async def test_the_model_reads_the_turns_that_were_sent_and_no_others(tmp_path: Path, engine: FakeEngine) -> None:
    turns = [
        [{"role": "user", "content": "Hi"}],
        [{"role": "developer", "content": "Obey."}, {"role": "user", "content": "Hi"}],
        [{"role": "system", "content": "Sing."}, {"role": "user", "content": "Hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}],
        [{"role": "user", "content": ["H", {"text": "i"}]}],
        [{"role": "user", "content": {"text": "Hi"}}],
    ]
    async with serving(tmp_path, engine) as api:
        for messages in turns:
            ok(await api.http.post("/v1/chat/completions", json={"model": NAME, "messages": messages}))
    user = {"role": "user", "content": "Hi"}
    assert [list(sampled.messages) for sampled in engine.sampled] == [
        [user],
        [{"role": "system", "content": "Obey."}, user],
        [{"role": "system", "content": "Sing."}, user],
        [user],
        [user],
        [user],
    ]


def test_the_schema_says_every_form_in_which_a_turn_may_be_written() -> None:
    schema = Draft202012Validator(ChatMessage.model_json_schema())
    written: list[Any] = ["Hi", {"text": "Hi"}, {"type": "text", "text": "Hi"}, ["H", {"text": "i"}]]
    for content in written:
        turn = {"role": "user", "content": content}
        schema.validate(turn)
        assert ChatMessage.model_validate(turn).text == "Hi"
    assert not schema.is_valid({"role": "user", "content": [{"type": "image", "text": "Hi"}]})


ASKS_FOR_ANOTHER_ANSWER: list[dict[str, Any]] = [
    {"response_format": {"type": "json_object"}},
    {"logit_bias": {"5": 100}},
    {"frequency_penalty": 2},
    {"presence_penalty": -0.5},
    {"repetition_penalty": 5},
    {"top_k": 1},
    {"min_p": 0.9},
    {"stop_token_ids": [1]},
    {"min_tokens": 3},
    {"ignore_eos": True},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    {"guided_regex": "[0-9]+"},
    {"continue_final_message": True},
    {"best_of": 2},
    {"reasoning_effort": "high"},
    {"chat_template": "{{ messages }}"},
]


@pytest.mark.parametrize("field", ASKS_FOR_ANOTHER_ANSWER, ids=lambda field: next(iter(field)))
async def test_what_would_change_the_answer_and_is_not_supported_is_refused_by_name(
    tmp_path: Path, engine: FakeEngine, field: dict[str, Any]
) -> None:
    name = next(iter(field))
    async with serving(tmp_path, engine) as api:
        assert error(await api.try_chat(**field), 400).startswith(f"{name}: ")
        body = {"model": NAME, "prompt": "Hi", **field}
        assert error(await api.http.post("/v1/completions", json=body), 400).startswith(f"{name}: ")
    assert engine.sampled == []


async def test_what_asks_for_nothing_is_accepted_and_unknown_names_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    neutral: dict[str, Any] = {
        "response_format": {"type": "text"}, "logit_bias": {}, "frequency_penalty": 0.0, "repetition_penalty": 1.0,
        "top_k": -1, "min_p": 0, "stop_token_ids": [], "ignore_eos": False, "tools": [], "tool_choice": "none",
        "best_of": 1, "reasoning_effort": None, "guided_json": None, "user": "me", "store": False,
    }  # fmt: skip
    async with serving(tmp_path) as api:
        plain, same = await api.said(seed=1), await api.said(seed=1, **neutral)
        assert caplog.messages == []
        for _ in range(2):
            await api.said(temprature=0.1, max_token=3)
    assert same.message == plain.message
    assert [message.split("'")[1] for message in caplog.messages] == ["temprature", "max_token"]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"top_logprobs": 5}, 400, "top_logprobs=5 needs logprobs=true"),
        ({"stop": ["a", ""]}, 422, "stop"),
        ({"temperature": 2.5}, 422, "temperature: Input should be less than or equal to 2, got 2.5"),
        ({"max_tokens": 0}, 422, "max_tokens: Input should be greater than or equal to 1, got 0"),
        ({"n": 65}, 422, "n: "),
        ({"top_logprobs": 21}, 422, "top_logprobs"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, 422, "'king'"),
        ({"messages": [{"role": "user", "content": None}]}, 422, "role 'user' must not be null"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, 422, "'image_url'"),
        ({"messages": [{"role": "user", "content": [5]}]}, 422, "content"),
        ({"messages": [{"role": "tool"}]}, 422, "role 'tool' must not be null"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, 422, "tool calls are not supported"),
        ({"model": None}, 422, "model: Field required"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_answered_is_refused_with_its_reason(
    tmp_path: Path, engine: FakeEngine, fields: dict[str, Any], status: int, said: str
) -> None:
    async with serving(tmp_path, engine) as api:
        body = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], **fields}
        assert said in error(await api.http.post("/v1/chat/completions", json=body), status)
    assert engine.sampled == []


async def test_an_answer_whose_logprobs_are_no_numbers_is_an_error(tmp_path: Path) -> None:
    class Broken(FakeEngine):
        async def sample(self, *asked: Any) -> Any:
            sample = await super().sample(*asked)
            return type(sample)(**{**vars(sample), "logprobs": tuple(float("nan") for _ in sample.logprobs)})

    async with serving(tmp_path, Broken(tmp_path / "engine")) as api:
        assert "not a number" in error(await api.try_chat(), 503)


async def test_the_engine_is_told_what_is_predicted_and_what_it_made_of_it_is_counted(
    tmp_path: Path, engine: FakeEngine
) -> None:
    parts = {"type": "content", "content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "hot."}]}
    async with serving(tmp_path, engine) as api:
        reply = await api.chat(prediction=parts)
        await api.chat(prediction=None)
    assert [sampled.params.prediction for sampled in engine.sampled] == ["It is hot.", ""]
    assert reply.usage.completion_tokens_details.model_dump() == {
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
