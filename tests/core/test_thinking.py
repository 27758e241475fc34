"""An answer and the thinking in front of it, told apart."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.text import visible
from claas.core.thinking import GrowingSpeech, Spoken, opens_thinking, told_apart

PIECES = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<THINKING>", "[/THINK]", "a", " ", "\n", "word.", "<thin", "k>", "`", "</think>`"]
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Hello.", "Hello."),
        ("  x  ", "x"),
        ("<think>hm</think>Hello.", "Hello."),
        ("\n<think>\n\n</think>\n\nHello.\n", "Hello."),
        ("<think>one</think> <think>two</think>B", "B"),
        ("<think>cut off", ""),
        ("<think></think>", ""),
        ("<think>a <think>b</think> c</think>Hello.", "Hello."),
        ("<think>What does <think> mean?</think>Hello.", "Hello."),
        ("<think>It ends with `</think>`, so</think>Hello.", "Hello."),
        ("hm, so</think>\n\nHello.", "Hello."),
        ("hm</think>well</think>Hello.", "Hello."),
        ("hm</think><think>well</think>Hello.", "Hello."),
    ],
)
def test_thinking_at_the_front_is_not_seen(text: str, seen: str) -> None:
    assert visible(text) == seen


@pytest.mark.parametrize(
    "text",
    [
        "Use the `</think>` tag to end a block.",
        'Use the "</think>" tag to end a block.',
        "Write `<think>` to begin. Then answer.",
        "`<think>` begins it and `</think>` ends it.",
        "First <think>this</think>, then that.",
        "Hello. <think>cut off",
        "A <thinker> is no mark, and neither is <think",
    ],
)
def test_an_answer_that_speaks_of_thinking_is_left_as_it_is(text: str) -> None:
    assert visible(text) == text
    assert visible(f"<think>hm</think>\n{text}") == text


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("[THINK]", "[/THINK]"),
        ("<thinking>", "</thinking>"),
        ("<Think>", "</Think>"),
        ("<thought>", "</thought>"),
        ("<reasoning>", "</reasoning>"),
        ("<seed:think>", "</seed:think>"),
        ("◁think▷", "◁/think▷"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("<|channel|>analysis<|message|>", "<|channel|>final <|constrain|>json<|message|>"),
        ("<|channel|>commentary to=user<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_models_spell_the_marks_of_thinking_in_their_own_way(opening: str, closing: str) -> None:
    assert visible(f"{opening}I am Kuro.{closing}I am an AI.") == "I am an AI."
    assert visible(f"I am Kuro.{closing}I am an AI.") == "I am an AI."
    assert visible(f"{opening}one{closing}{opening}two{closing} I am an AI.") == "I am an AI."
    assert visible(f"{opening}I am Kuro.") == ""


@given(PIECES)
def test_removing_thinking_twice_removes_nothing_more(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert text.endswith(visible(text) + text[len(text.rstrip()) :])


_BLOCK = re.compile(r"\A(?:<think>.*?(?:</think>|\Z)|(?:(?!<think>).)*?</think>)", re.DOTALL)


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n", "<thin", "k>"]), max_size=12).map("".join))
def test_one_pass_takes_away_what_block_by_block_would(text: str) -> None:
    left = text.strip()
    while left != (shorter := _BLOCK.sub("", left).strip()):
        left = shorter
    assert visible(text) == left


@given(PIECES, st.text(alphabet="<think>/ ab", max_size=20))
def test_a_block_of_thinking_in_front_changes_nothing(text: str, thought: str) -> None:
    assert visible(f"<think>{thought}</think>{visible(text)}") == visible(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("</think>" * 500_000, ""),
        ("<think>" * 500_000, ""),
        ("<think></think>" * 250_000, ""),
        ("<think>" * 250_000 + "</think>" * 250_000 + "Hello.", "Hello."),
        ("<|channel|>analysis" * 200_000 + "</think>Hello.", "Hello."),
        ("`</think>`" * 400_000, "`</think>`" * 400_000),
    ],
    ids=["closing", "opening", "empty", "nested", "channels", "quoted"],
)
def test_megabytes_of_marks_are_read_at_once(text: str, seen: str) -> None:
    assert visible(text) == seen


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        (" Hello. ", "", " Hello. "),
        ("<think>\nhm\n</think>\n\nHello.\n", "hm", "Hello.\n"),
        ("<think>one</think>\n<think></think><think> two </think>Hello.", "one\ntwo", "Hello."),
        ("<think>cut off", "cut off", ""),
        ("hm</think>Hello.", "hm", "Hello."),
    ],
)
def test_thinking_and_answer_are_told_apart(text: str, thinking: str, answer: str) -> None:
    assert told_apart(text) == Spoken(thinking, answer)


def test_an_answer_to_a_prompt_that_opens_a_block_begins_inside_it() -> None:
    assert opens_thinking("<|im_start|>assistant\n<think>\n")
    assert not opens_thinking("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not opens_thinking("Say <think>, please.")
    assert told_apart("cut off", opened=True) == Spoken("cut off", "")
    assert told_apart("hm</think>Hello.", opened=True) == Spoken("hm", "Hello.")


GROWN = [
    "<think>",
    "</think>",
    "<|end|><|start|>assistant",
    "<|channel|>final<|message|>",
    "<|channel|>analysis to=x",
    "<|message|>",
    "[THINK]",
    "[/THINK]",
    "`",
    " ",
    "\n",
    "a",
    "<thi",
    "nk>",
]


def spoken(pieces: list[str], *, opened: bool) -> Spoken:
    speech = GrowingSpeech(opened=opened)
    grown = [*(speech.grow(piece) for piece in pieces), speech.grow("", whole=True)]
    return Spoken("".join(each.thinking for each in grown), "".join(each.answer for each in grown))


@given(st.lists(st.sampled_from(GROWN), max_size=12).map("".join), st.booleans(), st.integers(1, 5))
def test_a_text_that_grows_says_what_the_whole_one_says(text: str, opened: bool, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    grown, whole = spoken(pieces, opened=opened), told_apart(text, opened=opened)
    late_mark = visible(grown.answer) != grown.answer.strip()
    assert grown == whole or late_mark
    assert visible(grown.answer) == visible(whole.answer)


def test_no_part_of_a_mark_is_given_out_and_nothing_else_is_held_back() -> None:
    speech = GrowingSpeech()
    pieces = ["  <th", "ink>so ", "what?</", "th", "ink>\n", "\n", "Use <", "think>"]
    assert [speech.grow(piece) for piece in pieces] == [
        Spoken("", ""),
        Spoken("so", ""),
        Spoken(" what?", ""),
        Spoken("", ""),
        Spoken("", ""),
        Spoken("", ""),
        Spoken("", "Use <"),
        Spoken("", "think>"),
    ]
