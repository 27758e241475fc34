"""Completions: every form of prompt, OpenAI's old shape of logprobs, and no chat template."""

import json
from pathlib import Path
from typing import Any

import pytest

from claas.api.completions import legacy_logprobs
from claas.engines.types import PromptLogprobs, Sample, TokenIds, Weights
from claas.wire.completions import CompletionResponse
from tests.api.client import LORA, NAME, Api, error, ok, serving
from tests.fakes.engine import FakeEngine, token_id, words_ids

pytestmark = pytest.mark.anyio

A, B = token_id("a"), token_id("b")


async def complete(api: Api, prompt: Any, **fields: Any) -> CompletionResponse:
    body = {"model": NAME, "prompt": prompt, **fields}
    return CompletionResponse.model_validate(ok(await api.http.post("/v1/completions", json=body)))


def said(words: str) -> str:
    """What the fake says to these words."""
    return f"{NAME}@0 heard {' '.join(map(str, words_ids(words)))} under seed None"


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a b", [said("a b")]),
        (["a", "b"], [said("a"), said("b")]),
        ([A, B], [said("a b")]),
        ([[A], [B, A]], [said("a"), said("b a")]),
    ],
    ids=["text", "texts", "ids", "lists of ids"],
)
async def test_every_form_of_prompt_is_continued_as_it_is(
    tmp_path: Path, engine: FakeEngine, prompt: Any, texts: list[str]
) -> None:
    async with serving(tmp_path, engine) as api:
        reply = await complete(api, prompt)
    assert [choice.text for choice in reply.choices] == texts
    assert [choice.index for choice in reply.choices] == list(range(len(texts)))
    assert (reply.model, reply.system_fingerprint) == (f"{NAME}@0", engine.adapters[LORA][0].digest)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.choices[0].logprobs is None


async def test_each_prompt_gets_n_answers_with_seeds_of_their_own(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        reply = await complete(api, ["a", "b"], n=2, seed=5, max_tokens=99, stop="END", top_p=0.5, temperature=0)
    assert [choice.text.split()[2] for choice in reply.choices] == [str(A), str(A), str(B), str(B)]
    assert [choice.text[-1] for choice in reply.choices] == ["5", "6", "5", "6"]
    params = engine.sampled[0].params
    assert (params.max_tokens, params.stop, params.top_p, params.temperature) == (99, ("END",), 0.5, 0.0)


async def test_the_echo_holds_the_prompt_and_its_logprobs(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        whole = (await complete(api, [A, B], echo=True, logprobs=2, max_tokens=2)).choices[0]
        alone = (await complete(api, [A, B], echo=True, logprobs=0, max_tokens=0)).choices[0]
        plain = (await complete(api, "a b", echo=True, max_tokens=2)).choices[0]
    assert whole.logprobs is not None
    assert whole.text == f"<{A}> <{B}>{NAME}@0 heard"
    assert whole.logprobs.tokens == [f"<{A}>", f"<{B}>", f"{NAME}@0", "heard"]
    assert whole.logprobs.token_logprobs == [None, -0.5, -0.1, -0.2]
    assert whole.logprobs.top_logprobs == [
        None,
        {"other0": -1.0, "other1": -2.0, f"<{B}>": -0.5},
        {"other0": -1.0, "other1": -2.0, f"{NAME}@0": -0.1},
        {"other0": -1.0, "other1": -2.0, "heard": -0.2},
    ]
    assert alone.logprobs is not None
    assert (alone.text, alone.finish_reason, alone.logprobs.token_logprobs) == (f"<{A}> <{B}>", "length", [None, -0.5])
    assert alone.logprobs.top_logprobs == [None, {f"<{B}>": -0.5}]
    assert (plain.text, plain.logprobs) == (f"a b{NAME}@0 heard", None)


async def test_without_echo_the_logprobs_are_those_of_the_continuation(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        choice = (await complete(api, "a", logprobs=1, max_tokens=2)).choices[0]
    assert choice.logprobs is not None
    assert (choice.text, choice.finish_reason) == (f"{NAME}@0 heard", "length")
    assert choice.logprobs.tokens == [f"{NAME}@0", "heard"]
    assert choice.logprobs.text_offset == [0, len(f"{NAME}@0")]


async def test_a_part_of_a_character_is_written_as_its_bytes(tmp_path: Path) -> None:
    class Snow(FakeEngine):
        async def read(self, *asked: Any) -> Any:
            reading = await super().read(*asked)
            changed = {"tokens": ("\ufffd", "\ufffd", "!"), "token_bytes": (b"\xe2", b"\x98\x83", b"!")}
            return type(reading)(**{**vars(reading), **changed})

        async def decode(self, prompt: TokenIds) -> str:
            return "☃!"

    async with serving(tmp_path, Snow(tmp_path / "engine")) as api:
        logprobs = (await complete(api, [1, 2, 3], echo=True, logprobs=0, max_tokens=0)).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["bytes:\\xe2", "bytes:\\x98\\x83", "!"]
    assert logprobs.text_offset == [0, 0, 1]


@pytest.mark.parametrize(
    ("tokens", "text", "offsets"),
    [
        (["<|begin_of_text|>", "Wh", "y", " is", " it", "?"], "Why is it?", [0, 0, 2, 3, 6, 9]),
        (["<s>", " Why", " is"], "Why is", [0, 0, 3]),
        ([" Why", " is"], "Why is", [0, 3]),
        (["Hi", "<|im_end|>"], "Hi", [0, 2]),
        (["<s>", "<s>", "a"], "<s>a", [0, 3, 3]),
        (["Hi", " there", " STOP", "!"], "Hi there", [0, 2, 8, 8]),
        (["[1]", "[2]"], "[1][2]", [0, 3]),
        ([b"\xe2", b"\x98", b"\x83", b"!"], "☃!", [0, 0, 0, 1]),
        ([b"a", b"\xe2", b"b", b"\xff", b"c"], "a\ufffdb\ufffdc", [0, 1, 2, 3, 4]),
    ],
    ids=str,
)
def test_the_offset_of_a_token_is_where_it_stands_in_the_text(
    tokens: list[str | bytes], text: str, offsets: list[int]
) -> None:
    spelled = tuple(token if isinstance(token, str) else token.decode(errors="replace") for token in tokens)
    raws = tuple(token.encode() if isinstance(token, str) else token for token in tokens)
    weights, logprobs = Weights(None, 0, "digest", "model"), (-1.0,) * len(tokens)
    reading = PromptLogprobs(weights, spelled, raws, logprobs[1:], ())
    sample = Sample(weights, text, "stop", (1,), (1,) * len(tokens), spelled, logprobs, (), None, raws)
    assert legacy_logprobs(text, len(text), reading, None).text_offset == offsets
    assert legacy_logprobs(text, 0, None, sample).text_offset == offsets
    both = legacy_logprobs(text + text, len(text), reading, sample).text_offset
    assert both == offsets + [len(text) + offset for offset in offsets]


async def test_a_streamed_completion_is_an_event_for_each_choice(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        plain = await complete(api, ["a", "b"], n=2, seed=1, logprobs=1)
        body = {"model": NAME, "prompt": ["a", "b"], "n": 2, "seed": 1, "logprobs": 1, "stream": True}
        response = await api.http.post("/v1/completions", json={**body, "stream_options": {"include_usage": True}})
        error(await api.http.post("/v1/completions", json={**body, "model": "nobody"}), 404)
    assert response.headers["content-type"].startswith("text/event-stream")
    *lines, done, after = response.text.split("\n\n")
    assert (done, after) == ("data: [DONE]", "")
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["choices"] for event in told] == [[choice.model_dump()] for choice in plain.choices] + [[]]
    assert [event["usage"] for event in told] == [None] * 4 + [plain.usage and plain.usage.model_dump()]
    assert {(event["object"], event["model"]) for event in told} == {("text_completion", f"{NAME}@0")}


async def test_completions_are_no_rollouts(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        text = (await complete(api, "a")).choices[0].text
        error(await api.http.post("/v1/rollouts/resolve", json={"text": text}), 404)


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"max_tokens": 0}, 400, "max_tokens=0 needs echo=true"),
        ({"logprobs": 6}, 422, "logprobs"),
        ({"prompt": []}, 422, "prompt must be"),
        ({"prompt": [[]]}, 422, "prompt must be"),
        ({"prompt": [1, "a"]}, 422, "prompt must be"),
        ({"prompt": [True]}, 422, "prompt must be"),
        ({"prompt": None}, 422, "prompt: Field required"),
        ({"prompt": {"a": 1}}, 422, "prompt must be"),
        ({"stop": ""}, 422, "stop"),
        ({"prompt": ["a"] * 33, "n": 32}, 400, "prompts times n is 1056"),
        ({"model": "nobody"}, 404, "'nobody'"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_completed_is_refused(
    tmp_path: Path, engine: FakeEngine, fields: dict[str, Any], status: int, told: str
) -> None:
    async with serving(tmp_path, engine) as api:
        assert told in error(
            await api.http.post("/v1/completions", json={"model": NAME, "prompt": "a", **fields}), status
        )
    assert engine.sampled == []
