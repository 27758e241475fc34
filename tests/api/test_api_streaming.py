"""Streamed chat: OpenAI's events, the same answer as without a stream, recorded before it is finished."""

import json
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import NotFound, StackError
from tests.api.client import NAME, Api, error, ok, serving
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio


async def events(api: Api, prompt: str = "Hi", model: str = NAME, **fields: Any) -> list[dict[str, Any]]:
    """The events of a whole stream, without its end, which is checked."""
    response = await api.try_chat(prompt, model, stream=True, **fields)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *lines, done, after = response.text.split("\n\n")
    assert (done, after) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def of_choice(told: list[dict[str, Any]], index: int) -> list[dict[str, Any]]:
    return [choice for event in told for choice in event["choices"] if choice["index"] == index]


async def test_a_stream_has_openais_events_and_says_what_the_plain_answer_says(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        plain = await api.chat(seed=3)
        told = await events(api, seed=3)
    first, *middle, last = [event["choices"][0] for event in told]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert "".join(part["delta"]["content"] for part in middle) == plain.choices[0].message.content
    assert len(middle) == 6
    assert {part["finish_reason"] for part in (first, *middle)} == {None}
    assert (last["delta"], last["finish_reason"], last["mean_entropy"]) == ({}, "stop", 1.25)
    assert last["rollout_id"].startswith("rollout-")
    for event in told:
        assert (event["object"], event["model"], event["id"]) == ("chat.completion.chunk", plain.model, told[0]["id"])
        assert event["system_fingerprint"] == plain.system_fingerprint
        assert "usage" not in event


async def test_the_usage_comes_last_when_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        plain = await api.chat(n=2, seed=3)
        *others, last = await events(api, n=2, seed=3, stream_options={"include_usage": True})
    assert {event["usage"] for event in others} == {None}
    assert (last["choices"], last["usage"]) == ([], plain.usage.model_dump())


async def test_the_logprobs_of_the_chunks_are_those_of_the_plain_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        plain = (await api.chat(logprobs=True, top_logprobs=2)).choices[0].logprobs
        told = of_choice(await events(api, logprobs=True, top_logprobs=2), 0)
    assert plain is not None
    streamed = [token for part in told if part["logprobs"] for token in part["logprobs"]["content"]]
    assert streamed == plain.model_dump()["content"]


async def test_several_answers_are_told_side_by_side(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        plain = await api.chat(n=3, seed=40)
        told = await events(api, n=3, seed=40)
    assert len({event["choices"][0]["index"] for event in told[:6]}) == 3
    for choice in plain.choices:
        parts = of_choice(told, choice.index)
        assert "".join(part["delta"].get("content", "") for part in parts) == choice.message.content
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == ["stop"]
        assert [part["delta"].get("role") for part in parts].count("assistant") == 1


async def test_the_answer_is_on_record_with_what_was_sampled(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        told = of_choice(await events(api), 0)
        text = "".join(part["delta"].get("content", "") for part in told)
        rollout = ok(await api.http.post("/v1/rollouts/resolve", json={"text": text}))
    assert rollout["id"] == told[-1]["rollout_id"]


async def test_an_engine_that_cannot_stream_tells_the_answer_at_once(tmp_path: Path) -> None:
    class Whole(FakeEngine):
        async def sample(self, weights: Any, messages: Any, params: Any, on_piece: Any = None) -> Any:
            return await super().sample(weights, messages, params)

    async with serving(tmp_path, Whole(tmp_path / "engine")) as api:
        plain = (await api.said(logprobs=True)).message.content
        role, whole, last = of_choice(await events(api, logprobs=True), 0)
    assert role["delta"]["role"] == "assistant"
    assert whole["delta"]["content"] == plain
    assert len(whole["logprobs"]["content"]) == 7
    assert last["finish_reason"] == "stop"


@pytest.mark.parametrize(("failure", "status"), [(StackError("gone"), 503), (NotFound("gone"), 404)])
async def test_what_fails_before_the_first_piece_is_an_ordinary_error(
    tmp_path: Path, engine: FakeEngine, failure: Exception, status: int
) -> None:
    def script(*_: object) -> str:
        raise failure

    engine.script = script
    async with serving(tmp_path, engine) as api:
        assert error(await api.try_chat(stream=True), status) == "gone"
        error(await api.try_chat(stream=True, model="nobody"), 404)


async def test_what_fails_on_the_way_is_the_last_event(tmp_path: Path, engine: FakeEngine) -> None:
    async def fail(index: int) -> None:
        if index == 2:
            raise StackError("the device is gone")

    engine.between_pieces = fail
    async with serving(tmp_path, engine) as api:
        response = await api.try_chat(stream=True)
        *parts, last, after = response.text.split("\n\n")
        assert json.loads(last.removeprefix("data: ")) == {
            "error": {"message": "the device is gone", "type": "server_error", "param": None, "code": "stack_error"},
            "detail": "the device is gone",
        }
        assert (len(parts), after, "[DONE]" in response.text) == (4, "", False)
        text = "".join(json.loads(part.removeprefix("data: "))["choices"][0]["delta"]["content"] for part in parts)
        error(await api.http.post("/v1/rollouts/resolve", json={"text": text}), 404)
