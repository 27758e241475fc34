"""Tokens: of a text and back, what the tokenizer is, and the scores of what may follow a prompt."""

from pathlib import Path
from typing import Any

import pytest

from claas.core.settings import EMBEDDED
from claas.engines.types import ContinuationScore, Conversation, TokenIds
from claas.tiny import WEIGHTS_DIR
from tests.api.client import LORA, NAME, Api, error, ok, running, serving, settings
from tests.fakes.engine import FakeEngine, token_id

pytestmark = pytest.mark.anyio

A, B = token_id("a"), token_id("b")


async def test_the_tokens_of_a_text_are_those_that_a_completion_reads(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        told = ok(await api.http.post("/tokenize", json={"prompt": "a b", "model": NAME}))
        assert told == {"count": 2, "max_model_len": engine.window, "tokens": [A, B]}
        assert "nobody" in error(await api.http.post("/tokenize", json={"prompt": "a", "model": "nobody"}), 404)
        long = "a " * 2 * engine.window
        assert ok(await api.http.post("/tokenize", json={"prompt": long}))["count"] > engine.window
        for prompt in ("a" * (2**20 + 1), "漢" * (2**20 // 3 + 1)):
            assert "prompt must have at most 1048576 bytes" in error(
                await api.http.post("/tokenize", json={"prompt": prompt}), 422
            )


async def test_a_conversation_has_the_tokens_that_an_answer_to_it_continues(tmp_path: Path, engine: FakeEngine) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    async with serving(tmp_path, engine) as api:
        told = ok(await api.http.post("/tokenize", json={"messages": turns}))
        both = await api.http.post("/tokenize", json={"messages": turns, "prompt": "a"})
        neither = await api.http.post("/tokenize", json={})
    assert told["tokens"] == list((await engine.encode(Conversation(tuple(turns)))).ids)
    for refused in (both, neither):
        assert "either prompt or messages must be given, and not both" in error(refused, 422)


async def test_tokens_read_as_a_text(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        told = ok(await api.http.post("/detokenize", json={"tokens": [A, B], "model": NAME}))
        assert told == {"prompt": await engine.decode(TokenIds((A, B)))}
        assert "nobody" in error(await api.http.post("/detokenize", json={"tokens": [A], "model": "nobody"}), 404)
        for tokens in ("a", [-1], [True], [2**63], None):
            assert "tokens" in error(await api.http.post("/detokenize", json={"tokens": tokens}), 422)


async def test_the_tokenizer_is_told_as_its_own_configuration_has_it(tmp_path: Path) -> None:
    transformers, local = pytest.importorskip("transformers"), pytest.importorskip("claas.engines.local.engine")
    own = transformers.AutoTokenizer.from_pretrained(WEIGHTS_DIR)
    text = "<|im_start|>user\nThe kettle boils. 🙂<|im_end|>\n"
    engine = local.LocalEngine.open(EMBEDDED, tmp_path / "engine", check_model=False)
    async with running(engine, settings(tmp_path)) as api:
        info = ok(await api.http.get("/tokenizer_info"))
        assert (info["chat_template"], info["eos_token"]) == (own.chat_template, own.eos_token)
        assert info["tokenizer_class"] == type(own).__name__
        assert info["added_tokens_decoder"]["1"] == "<|im_start|>"
        assert str(WEIGHTS_DIR.parent) not in str(info)
        for special in (True, False):
            body = {"prompt": text, "add_special_tokens": special}
            tokens = ok(await api.http.post("/tokenize", json=body))["tokens"]
            assert tokens == own.encode(text, add_special_tokens=special)
            assert ok(await api.http.post("/detokenize", json={"tokens": tokens}))["prompt"] == text
        assert "999999" in error(await api.http.post("/detokenize", json={"tokens": [999999]}), 422)


async def score(api: Api, status: int = 200, **fields: Any) -> Any:
    body = {"model": NAME, "prompt": [A], "continuations": [[B]], **fields}
    reply = await api.http.post("/v1/score/continuations", json=body)
    return ok(reply) if status == 200 else error(reply, status)


async def test_continuations_of_a_prompt_are_scored_by_the_weights_that_are_named(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with serving(tmp_path, engine) as api:
        told = await score(api, continuations=[[A, B], [B], [A, B]])
        assert "nobody" in await score(api, 404, model="nobody")
    assert told == {
        "model": f"{NAME}@0",
        "system_fingerprint": engine.adapters[LORA][0].digest,
        "prompt_tokens": 1,
        "continuations": [{"logprobs": [-0.5] * size, "likeliest": [False] * size} for size in (2, 1, 2)],
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": []}, "prompt: List should have at least 1 item"),
        ({"prompt": "text"}, "prompt: Input should be a valid list"),
        ({"prompt": [True]}, "prompt.0: Input should be a valid integer"),
        ({"prompt": [-1]}, "prompt.0: Input should be greater than or equal to 0"),
        ({"continuations": []}, "continuations: List should have at least 1 item"),
        ({"continuations": [[B], []]}, "continuations.1: List should have at least 1 item"),
        ({"continuations": [[B], [2**63]]}, "continuations.1.0: Input should be less than"),
        ({"continuations": [B]}, "continuations.0: Input should be a valid list"),
        ({"continuations": [[B]] * 129}, "continuations: List should have at most 128 items"),
        ({"continuations": [[B] * 9000] * 2}, "continuations: together they must have at most 16384 tokens, got 18000"),
        ({"logprobs": 1}, "logprobs: unknown field"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_continuations_that_cannot_be_scored_are_refused_by_the_field(
    tmp_path: Path, engine: FakeEngine, fields: dict[str, Any], said: str
) -> None:
    async with serving(tmp_path, engine) as api:
        assert said in await score(api, 422, **fields)


async def test_a_score_that_is_no_number_is_the_engines_failure(tmp_path: Path) -> None:
    class Broken(FakeEngine):
        async def score_continuations(self, *asked: Any) -> Any:
            return [ContinuationScore((float("nan"),), (True,))]

    async with serving(tmp_path, Broken(tmp_path / "engine")) as api:
        assert "not a number" in await score(api, 503)
