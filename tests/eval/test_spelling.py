"""An answer's text is what its tokens spell: no right answer is refused, and no altered one is taken."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import claas.tiny
from claas.eval.stacks.open_stack import open_stack
from claas.eval.stacks.spelling import spelled, spells
from claas.eval.stacks.stack import Answer
from claas.results.settings import EvalConfig
from claas.wire.chat import TokenLogprobs

tokenizers = pytest.importorskip("tokenizers")
TOKENIZER = tokenizers.Tokenizer.from_file(str(Path(claas.tiny.__file__).parent / "weights" / "tokenizer.json"))
END = TOKENIZER.token_to_id("<|im_end|>")


def of_words(*words: str) -> list[TokenLogprobs]:
    return [TokenLogprobs(token=word, logprob=-1.0) for word in words]


def of_ids(ids: Sequence[int]) -> list[TokenLogprobs]:
    """Tokens as the API tells them: each one's own text, in which part of a character reads as U+FFFD."""
    texts = [TOKENIZER.decode([token], skip_special_tokens=False) for token in ids]
    return [TokenLogprobs(token=text, logprob=-1.0, bytes=list(text.encode())) for text in texts]


def of_text(text: str) -> list[TokenLogprobs]:
    return of_ids([*TOKENIZER.encode(text, add_special_tokens=False).ids, END])


def with_bytes(text: str) -> list[TokenLogprobs]:
    """Tokens with their bytes, three a token, whatever character they cut in two."""
    data = text.encode()
    parts = [data[start : start + 3] for start in range(0, len(data), 3)]
    return [TokenLogprobs(token=part.decode("utf-8", "replace"), logprob=-1.0, bytes=list(part)) for part in parts]


@settings(deadline=None)
@given(st.lists(st.integers(0, TOKENIZER.get_vocab_size() - 1), max_size=30), st.booleans())
def test_whatever_a_model_may_sample_is_taken(ids: list[int], stopped: bool) -> None:
    ids = [*ids, END] if stopped else ids
    assert spells(of_ids(ids), TOKENIZER.decode(ids, skip_special_tokens=True), stopped=stopped)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_taken_with_or_without_the_bytes_of_its_tokens(text: str) -> None:
    assert spells(of_text(text), text, stopped=True)
    assert spells(with_bytes(text), text, stopped=False)


@settings(deadline=None)
@given(st.text(max_size=30), st.integers(0, 30), st.sampled_from("aZ0.!?"))
def test_a_character_more_is_noticed(text: str, place: int, more: str) -> None:
    altered = text[:place] + more + text[place:]
    assert not spells(of_text(text), altered, stopped=True)
    assert not spells(with_bytes(altered), text, stopped=False)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("It rains. 🌧️", "It rains."),
        ("It rains. 🌧️", "It rains. 🌧️ 🌧️ ok"),
        ("It rains 🌧️ a lot 🎉", "It rains a lot 🎉"),
        ("Not at all.", "At all."),
        ("One. Two. Three.", "One. Two."),
        ("", "Service unavailable"),
        ("Hello", ""),
        ("<think>no</think>yes", "no"),
    ],
)
def test_what_is_left_out_or_put_in_on_the_way_is_noticed(said: str, shown: str) -> None:
    assert not spells(of_text(said), shown, stopped=True)


def test_with_the_bytes_of_the_tokens_one_emoji_is_not_taken_for_another() -> None:
    assert spells(with_bytes("fine 🙂"), "fine 🙂", stopped=False)
    assert not spells(with_bytes("fine 🙂"), "fine 🙃", stopped=False)


def test_thinking_may_be_left_in_or_taken_out() -> None:
    tokens = of_text("<think>Short.</think>\n\nKuro it is.")
    assert spells(tokens, "<think>Short.</think>\n\nKuro it is.", stopped=True)
    assert spells(tokens, "Kuro it is.", stopped=True)
    assert not spells(tokens, "Kuro it is not.", stopped=True)
    assert spells(tokens, "Kuro it is.", thinking="Short.", stopped=True)


def test_thinking_whose_beginning_stands_in_the_prompt_is_told_apart_from_the_answer() -> None:
    assert spells(of_text("Short.</think>\n\nKuro it is."), "Kuro it is.", thinking="Short.", stopped=True)
    assert spells(of_text("Cut off"), "", thinking="Cut off", stopped=False)
    assert not spells(of_text("Cut off"), "", thinking="Cut", stopped=False)


def test_channels_that_special_tokens_mark_are_thinking() -> None:
    said = [
        "<|channel|>",
        "analysis",
        "<|message|>",
        "Kuro?",
        "<|end|>",
        "<|start|>",
        "assistant",
        "<|channel|>",
        "final",
    ]
    tokens = of_words(*said, "<|message|>", "Hello.", "<|return|>")
    assert spells(tokens, "Hello.", stopped=True)
    assert spells(tokens, "Hello.", thinking="Kuro?", stopped=True)
    assert not spells(tokens, "Kuro?", stopped=True)


def test_the_end_of_the_turn_may_be_any_token_and_need_not_be_told() -> None:
    assert spells(of_words("Hi", "[e~["), "Hi", stopped=True)
    assert spells(of_words("Hi", "</s>"), "Hi", stopped=True)
    assert spells(of_words("Hi", "!"), "Hi!", stopped=True)
    assert not spells(of_words("Hi", "!"), "Hi", stopped=False)


def test_a_vocabulary_that_keeps_spaces_between_its_tokens_is_read() -> None:
    assert spells(of_words("Good", "morning", ",", "all"), "Good morning, all", stopped=False)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("One. Two. Three.", "One.\n\nTwo.\n\nThree."),
        ("One.\n\nTwo.", "One. Two."),
        ("One.\nTwo.", "One.\n\nTwo."),
        ("One. Two.", "One.\x0bTwo."),
    ],
)
def test_line_breaks_make_sentences_and_are_compared(said: str, shown: str) -> None:
    for thought in ("", "<think>Hm.\n\nSo.</think>\n"):
        assert spells(of_text(thought + said), f"\n{said} \n", thinking="Hm. So." if thought else "", stopped=True)
        assert not spells(of_text(thought + said), shown, thinking="Hm. So." if thought else "", stopped=True)


def test_what_no_text_shows_is_no_place_for_an_answer() -> None:
    assert spells(of_words("<|im_start|>", "Short.", "</s>"), "Short.", stopped=True)
    for hidden in ("<A long answer that nobody is to see.>", "[and another]", "<one\ntwo>"):
        assert not spells(of_words(hidden, "Short.", "</s>"), "Short.", stopped=True)


@pytest.mark.parametrize("garbage", [[300], [-1]])
def test_bytes_that_are_none_spell_nothing(garbage: list[int]) -> None:
    tokens = [TokenLogprobs(token="Hi", logprob=-1.0, bytes=garbage)]
    assert spelled(tokens) == "\N{REPLACEMENT CHARACTER}"
    assert not spells(tokens, "Hi", stopped=False)


PROMPTS = ("What is rain?", "Tell me about dogs.", "hi")


def test_every_answer_of_the_embedded_model_is_taken(tmp_path: Path) -> None:
    pytest.importorskip("torch")

    async def ask() -> list[Answer]:
        async with open_stack(EvalConfig().resolved(), tmp_path) as stack:
            adapter = await stack.init_adapter("eval/spelling", 0)
            sampled = [
                stack.answer(adapter, prompt, temperature=temperature, seed=seed, max_tokens=tokens)
                for prompt in PROMPTS
                for seed, (temperature, tokens) in enumerate([(0.0, 60), (1.5, 60), (1.0, 7), (1.0, 16)])
            ]
            return await asyncio.gather(*sampled)

    answers = asyncio.run(ask())
    assert {answer.finish_reason for answer in answers} == {"stop", "length"}
    assert any(not answer.text.isascii() for answer in answers), "some of them with an emoji"
