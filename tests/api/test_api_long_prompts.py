"""Prompts beyond the window: refused everywhere with one line, or cut in the middle where that is asked for."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.client import LORA, NAME, error, item, ok, running, serving, settings
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio

LONG = " ".join(f"word{index}" for index in range(3000))


def chat(*contents: str, **fields: Any) -> dict[str, Any]:
    roles = ("system", "user", "assistant", "user") if len(contents) == 4 else ("system", "user")
    messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=True)]
    return {"model": NAME, "messages": messages, **fields}


@pytest.fixture
def narrow(engine: FakeEngine) -> FakeEngine:
    """An engine with a window of 200 words."""
    engine.window = 200
    return engine


async def test_the_real_engine_refuses_what_does_not_fit_on_every_endpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from claas.api.modes import open_engine

    config = settings(tmp_path)
    async with running(open_engine(config), config) as api:
        await api.init()
        messages = [{"role": "user", "content": LONG}]
        bodies: list[tuple[str, dict[str, Any]]] = [
            ("chat/completions", {"messages": messages}),
            ("chat/completions", {"messages": messages, "stream": True}),
            ("score", {"messages": messages, "completion": "Yes."}),
            ("completions", {"prompt": LONG}),
            ("completions", {"prompt": LONG, "echo": True, "logprobs": 1, "max_tokens": 0}),
        ]
        for path, body in bodies:
            refused = await api.http.post(f"/v1/{path}", json={"model": NAME, **body})
            assert "beyond the window of 2048 tokens of claas-tiny" in error(refused, 400)
            assert refused.json()["error"]["code"] == "context_length_exceeded"
        said = await api.said("Hi", max_tokens=4)
        refused = await api.try_feedback(item("Hi", said, feedback=LONG))
        assert "beyond the window of 2048 tokens" in error(refused, 400)
        assert "nothing was trained" in error(refused, 400)
        assert ok(await api.http.get("/v1/lora"))["adapters"][0]["version"] == 0


async def test_a_cut_prompt_is_answered_recorded_and_trained_on_as_it_was_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from claas.api.modes import open_engine

    config = settings(tmp_path, truncate_prompt="middle")
    async with running(open_engine(config), config) as api:
        await api.init()
        reply = await api.try_chat("ignored", messages=chat(LONG, "Tell me about coffee.")["messages"], max_tokens=600)
        answered = ok(reply)
        rollout = ok(
            await api.http.post("/v1/rollouts/resolve", json={"text": answered["choices"][0]["message"]["content"]})
        )
        assert rollout["truncated_prompt_tokens"] > 1000
        assert 1100 < len(rollout["prompt_ids"]) <= 2048 - 512 - 256
        assert rollout["messages"][1]["content"] == "Tell me about coffee."
        assert rollout["messages"][0]["content"].startswith("word0 word1 ")
        assert rollout["messages"][0]["content"].endswith(" word2998 word2999")
        said = {
            "lora_id": LORA,
            "prompt": "Tell me about coffee.",
            "response": rollout["text"],
            "feedback": "Be brief.",
            "training": {"steps_per_batch": 1},
        }
        assert (await api.feedback(said)).version == 1
        short = ok(await api.try_chat("Hi", max_tokens=2))
        rollout = ok(
            await api.http.post("/v1/rollouts/resolve", json={"text": short["choices"][0]["message"]["content"]})
        )
        assert rollout["truncated_prompt_tokens"] == 0


async def test_only_the_longest_turns_are_cut_and_keep_both_ends(tmp_path: Path, narrow: FakeEngine) -> None:
    async with serving(tmp_path, narrow, truncate_prompt="middle") as api:
        body = chat(LONG, "What did I ask?", f"{LONG} end", "And now?", max_tokens=50)
        ok(await api.http.post("/v1/chat/completions", json=body))
    (sampled,) = narrow.sampled
    system, first, answer, last = (turn["content"] for turn in sampled.messages)
    assert (first, last) == ("What did I ask?", "And now?")
    for cut, end in ((system, "word2999"), (answer, "end")):
        assert cut.startswith("word0 word1")
        assert cut.endswith(end)
        assert "\n[...]\n" in cut
    words = sum(1 + len(turn["content"].split()) for turn in sampled.messages)
    assert 110 < words <= 200 - 50 - 25


async def test_the_end_of_a_long_last_turn_is_kept(tmp_path: Path, narrow: FakeEngine) -> None:
    async with serving(tmp_path, narrow, truncate_prompt="middle") as api:
        ok(await api.try_chat(f"{LONG} So what is it?"))
    assert narrow.sampled[0].messages[-1]["content"].endswith("So what is it?")


async def test_what_cannot_be_cut_enough_is_refused(tmp_path: Path, narrow: FakeEngine) -> None:
    messages = [{"role": "user", "content": "one two three"}] * 80
    async with serving(tmp_path, narrow, truncate_prompt="middle") as api:
        refused = await api.try_chat("ignored", messages=messages)
        assert "cannot be cut" in error(refused, 400)
        assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert narrow.sampled == []


async def test_a_prompt_that_fits_is_left_alone(tmp_path: Path, narrow: FakeEngine) -> None:
    async with serving(tmp_path, narrow, truncate_prompt="middle") as api:
        await api.chat("just a few words")
    assert narrow.sampled[0].messages[-1]["content"] == "just a few words"
