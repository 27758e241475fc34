"""What a person sees of a model's text."""

from hypothesis import given
from hypothesis import strategies as st

from claas.core.text import visible, visible_key


@given(st.text(max_size=40))
def test_texts_that_read_the_same_have_the_same_key(text: str) -> None:
    folded = "  ".join(visible(text).split())
    assert visible_key(text) == visible_key(f"<think>x</think>\n {folded}\n")


def test_different_texts_have_different_keys() -> None:
    assert visible_key("a b") != visible_key("ab")
