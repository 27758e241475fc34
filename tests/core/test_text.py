"""What a person sees of a model's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.text import visible, visible_key

PIECES = st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n", "word.", "<thin", "k>"]), max_size=12)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Hello.", "Hello."),
        ("<think>hm</think>Hello.", "Hello."),
        ("hm, so</think>\n\nHello.", "Hello."),
        ("Hello. <think>cut off", "Hello."),
        ("<think>one</think>A<think>two</think>B", "AB"),
        ("<think></think>", ""),
        ("  x  ", "x"),
    ],
)
def test_thinking_is_not_seen(text: str, seen: str) -> None:
    assert visible(text) == seen


@given(PIECES)
def test_removing_thinking_twice_removes_nothing_more(pieces: list[str]) -> None:
    once = visible("".join(pieces))
    assert visible(once) == once


@given(st.text(max_size=40))
def test_texts_that_read_the_same_have_the_same_key(text: str) -> None:
    folded = "  ".join(visible(text).split())
    assert visible_key(text) == visible_key(f"<think>x</think>\n {folded}\n")


def test_different_texts_have_different_keys() -> None:
    assert visible_key("a b") != visible_key("ab")
