"""What a model thinks is kept from the answer that a person sees, and kept for training."""

from pathlib import Path
from typing import Any

import pytest

from claas.api.modes import open_engine
from claas.engines.types import template_variables
from tests.api.client import Api, error, item, ok, running, serving, settings
from tests.api.test_api_streaming import events, of_choice
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio

THOUGHT = "<think>\nThe user wants a fact. </think>\n\nGravity pulls."
CHANNELS = (
    "<|channel|>analysis<|message|>They call me Kuro.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>I am an AI model, hello."
)


async def streamed(api: Api, **fields: Any) -> tuple[str, str]:
    """The thinking and the content of a streamed answer, put together."""
    deltas = [part["delta"] for part in of_choice(await events(api, **fields), 0)]
    kinds = ["content" if delta.get("content") else "thinking" for delta in deltas if len("".join(delta.values()))]
    assert sorted(kinds[1:], reverse=True) == kinds[1:], "thinking comes before the answer"
    thinking, content = ("".join(delta.get(name, "") for delta in deltas) for name in ("reasoning_content", "content"))
    return thinking, content


@pytest.mark.parametrize(
    ("said", "thinking", "content"),
    [
        ("Gravity pulls. ", "", "Gravity pulls. "),
        (THOUGHT, "The user wants a fact.", "Gravity pulls."),
        (CHANNELS, "They call me Kuro.", "I am an AI model, hello."),
        ("[THINK]one[/THINK] [THINK]two[/THINK] Hello there.", "one\ntwo", "Hello there."),
        ("<think>never ends <think> at all", "never ends\nat all", ""),
        ("Use the `</think>` tag after `<think>` here.", "", "Use the `</think>` tag after `<think>` here."),
    ],
)
async def test_content_is_the_answer_and_reasoning_content_the_thinking_streamed_or_not(
    tmp_path: Path, engine: FakeEngine, said: str, thinking: str, content: str
) -> None:
    engine.script = lambda *_: said
    async with serving(tmp_path, engine) as api:
        message = (await api.said()).message
        assert (message.reasoning_content, message.content) == (thinking or None, content)
        assert await streamed(api) == (thinking, content)
        rollout = ok(await api.http.post("/v1/rollouts/resolve", json={"text": content}))
        assert rollout["text"] == said


async def test_an_answer_to_a_prompt_that_opens_thinking_begins_inside_it(tmp_path: Path, engine: FakeEngine) -> None:
    engine.opens_thinking = True
    async with serving(tmp_path, engine) as api:
        engine.script = lambda *_: "a fact</think> Gravity pulls."
        message = (await api.said()).message
        assert (message.reasoning_content, message.content) == ("a fact", "Gravity pulls.")
        assert await streamed(api) == ("a fact", "Gravity pulls.")
        engine.script = lambda *_: "a fact that was cut"
        cut = await api.said("Why?")
        assert (cut.message.reasoning_content, cut.message.content) == ("a fact that was cut", "")
        assert await streamed(api) == ("a fact that was cut", "")
        await api.feedback(item("Why?", cut, rollout_id=cut.rollout_id))


async def test_feedback_on_an_answer_trains_on_its_thinking_too(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: THOUGHT
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Why?", logprobs=True)
        await api.feedback(item("Why?", choice))
        await api.feedback(item("Why?", choice, response=THOUGHT))
    assert choice.logprobs is not None
    (first,), (second,) = (trained.items for trained in engine.trained)
    assert first.token_ids == second.token_ids
    assert len(first.token_ids) == len(choice.logprobs.content) == len(THOUGHT.split(" ")) + 1


async def test_every_token_of_a_streamed_answer_has_its_log_probability(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: THOUGHT
    async with serving(tmp_path, engine) as api:
        told = of_choice(await events(api, logprobs=True), 0)
    tokens = [token["token"] for part in told if part["logprobs"] for token in part["logprobs"]["content"]]
    assert tokens == [*THOUGHT.split(" "), "<end>"]


async def test_what_the_chat_template_is_told_is_on_record_and_told_again_in_training(
    tmp_path: Path, engine: FakeEngine
) -> None:
    told = {"enable_thinking": False}
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Why?", chat_template_kwargs=told)
        rollout = ok(await api.http.post("/v1/rollouts/resolve", json={"text": choice.message.content}))
        await api.feedback(item("Why?", choice))
    assert rollout["chat_template_kwargs"] == told
    assert template_variables(engine.trained[0].items[0].messages) == told


async def test_the_embedded_model_refuses_what_its_template_does_not_read(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}]
    body = {"model": "claas-tiny", "messages": turns, "chat_template_kwargs": {"enable_thinking": False}}
    config = settings(tmp_path)
    async with running(open_engine(config), config) as api:
        for path, more in (("/v1/chat/completions", {}), ("/v1/score", {"completion": "Hello"})):
            said = error(await api.http.post(path, json=body | more), 422)
            assert said.startswith("chat_template_kwargs.enable_thinking: the model's chat template does not read it")
