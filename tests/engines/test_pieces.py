"""An answer told while it is sampled: the same answer, nothing taken back, and the bytes of its tokens."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from claas.engines.local.threads import settled
from claas.engines.text import TokenBytes, cut
from claas.engines.types import Piece, Sample, SamplingParams
from tests.engines.talk import PROMPTS, user

pytestmark = pytest.mark.anyio


async def streamed(engine: Any, prompt: str, params: SamplingParams) -> tuple[list[Piece], Sample]:
    pieces: list[Piece] = []
    sample = await engine.sample(await engine.resolve(None), user(prompt), params, pieces.append)
    return pieces, sample


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(60, 0.0, top_logprobs=20),
        SamplingParams(150, 2.0, seed=4),
        SamplingParams(80, 0.7, seed=1, stop=(" a rare thing", "e s", ". T")),
        SamplingParams(1, 0.0),
    ],
    ids=["greedy", "hot", "stops", "one token"],
)
async def test_the_pieces_and_the_rest_are_the_answer(engine: Any, params: SamplingParams) -> None:
    plain = await engine.sample(await engine.resolve(None), user(PROMPTS[2]), params)
    pieces, sample = await streamed(engine, PROMPTS[2], params)
    assert sample == plain
    pieces.append(sample.rest(sum(len(piece.text) for piece in pieces), sum(len(piece.tokens) for piece in pieces)))
    assert "".join(piece.text for piece in pieces) == sample.text
    assert tuple(token for piece in pieces for token in piece.tokens) == sample.rest().tokens
    assert tuple(top for piece in pieces for top in piece.top_logprobs) == sample.top_logprobs
    assert not any("\ufffd" in piece.text for piece in pieces if params.temperature < 1)


async def test_the_first_piece_is_told_long_before_the_last_token(engine: Any) -> None:
    first = asyncio.Event()
    params = SamplingParams(1900, 2.0, seed=0)
    answer = engine.sample(await engine.resolve(None), user("hi"), params, lambda piece: first.set())
    task = asyncio.create_task(answer)
    await asyncio.wait_for(first.wait(), 30)
    assert not task.done()
    task.cancel()


async def test_bytes_put_together_are_the_text(base: Any, engine: Any) -> None:
    weights = await engine.resolve(None)
    text = "naïve ☃ 🧑🏽‍🚀 𝄞 end"
    score = await engine.score(weights, user("hi"), text)
    ids = base.chat.completion_ids(text)
    assert b"".join(map(base.chat.token_bytes, ids)) == text.encode() + b"<|im_end|>"
    assert "\ufffd" in score.tokens  # a part of a character, which the text of a token cannot show
    sample = await engine.sample(weights, user(PROMPTS[0]), SamplingParams(20, 2.0, seed=5, top_logprobs=3))
    assert b"".join(sample.token_bytes).decode(errors="replace").startswith(sample.text.rstrip("\ufffd"))
    tops = [token for alternatives in sample.top_logprobs for token in alternatives]
    assert all(token.raw is not None and token.raw.decode(errors="replace") == token.token for token in tops)


def test_a_sentencepiece_vocabulary_spells_its_bytes() -> None:
    vocabulary = {"<unk>": 0, "▁Hi": 1, "<0xE2>": 2, "▁": 3, "é": 4, "<s>": 5}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken("<s>", special=True)])
    known = TokenBytes(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert [known.of(token) for token in (1, 2, 3, 4, 5)] == [b" Hi", b"\xe2", b" ", "é".encode(), b"<s>"]
    assert known.of(99) is None


def test_the_bytes_of_an_unknown_spelling_are_not_made_up() -> None:
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "##ing": 1}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    assert TokenBytes(PreTrainedTokenizerFast(tokenizer_object=backend)).of(1) is None


@given(text=st.text("ab\ufffd", max_size=12), stops=st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_what_is_settled_stays_whatever_comes(text: str, stops: list[str]) -> None:
    told = ""
    for end in range(len(text) + 1):
        now = settled(text[:end], stops)
        assert now.startswith(told)
        told = now
        if any(stop in text[:end] for stop in stops):  # an answer ends at its first stop string
            assert told == cut(text[:end], stops)
            return
    assert text.startswith(told)


@pytest.mark.parametrize(
    ("text", "stops", "told"),
    [
        ("Hello wor", ("world",), "Hello "),
        ("Hello wor", ("work", "r!"), "Hello "),
        ("Hello world", ("world",), "Hello "),
        ("Hello word", ("world",), "Hello word"),
        ("Hi \ufffd\ufffd", (), "Hi "),
        ("Hi w\ufffd", ("wé",), "Hi "),
        ("aab", ("ab",), "a"),
    ],
)
def test_what_may_become_a_stop_string_is_held_back(text: str, stops: tuple[str, ...], told: str) -> None:
    assert settled(text, stops) == told
