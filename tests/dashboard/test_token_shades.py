"""Token by token: which shade a logprob has, and which part of the text each token is."""

import math
import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.dashboard.token_shades import EDGES, Shaded, least_likely, legend, shade, shaded
from tests.dashboard.step_records import of_tokens, said


def found(tokens: list[str], text: str, at_most: int = 100) -> Shaded:
    """The text in shades, the k-th token at -k nats."""
    made = shaded(of_tokens(tokens, [-float(place) for place in range(len(tokens))], text), at_most)
    assert made is not None
    return made


def pieces(tokens: list[str], text: str) -> list[str]:
    made = found(tokens, text)
    assert not made.of_tokens
    return [each.text if each.in_text else f"({each.text})" for each in made.spans]


@pytest.mark.parametrize(
    ("logprob", "number"),
    [
        (0.0, 0),
        (-0.0999, 0),
        (-0.1, 1),
        (-0.49, 1),
        (-0.5, 2),
        (-0.99, 2),
        (-1.0, 3),
        (-1.99, 3),
        (-2.0, 4),
        (-3.9, 4),
        (-4.0, 5),
        (-6.9, 5),
        (-7.0, 6),
        (-700.0, 6),
        (0.001, 0),
    ],
)
def test_a_logprob_has_its_shade(logprob: float, number: int) -> None:
    assert shade(logprob) == number


@given(st.floats(-50, 0), st.floats(-50, 0))
def test_the_less_likely_token_is_never_the_lighter_one(one: float, other: float) -> None:
    assert shade(min(one, other)) >= shade(max(one, other))


def test_the_legend_has_every_shade_with_its_probability() -> None:
    assert [each.number for each in legend()] == list(range(len(EDGES) + 1))
    assert legend()[3].meaning == "≤ 37 % (−1)"
    assert math.isclose(math.exp(-1), 0.37, abs_tol=0.005)


def test_the_exact_numbers_are_told() -> None:
    made = shaded(of_tokens(["Hi", " you", "!", "<end>"], [-0.0, -0.0123456, -2.5, -12.0], "Hi you!"), 9)
    assert made is not None
    assert [piece.note for piece in made.spans] == [
        "0 nats, 100 %",
        "-0.01235 nats, 99 %",
        "-2.5 nats, 8.2 %",
        "-12 nats, 0.00061 %",
    ]


def test_the_end_of_the_turn_is_no_text() -> None:
    assert pieces(["Hi", " there", "<|im_end|>"], "Hi there") == ["Hi", " there", "(<|im_end|>)"]
    assert pieces(["Hi", "</s>"], "Hi") == ["Hi", "(</s>)"]


def test_special_tokens_in_between_are_no_text_either() -> None:
    assert pieces(["A", "<|im_start|>", " b"], "A b") == ["A", "(<|im_start|>)", " b"]


def test_tokens_that_are_one_character_together_are_one_piece() -> None:
    made = found(["Hi", " \ufffd", "\ufffd", "\ufffd", " you", "<end>"], "Hi 😀 you")
    assert [(each.text, each.tokens, each.logprob) for each in made.spans] == [
        ("Hi", 1, 0.0),
        (" 😀", 3, -3.0),
        (" you", 1, -4.0),
        ("<end>", 1, -5.0),
    ]
    assert made.spans[1].note == "-3 nats, 5 %, the least likely of 3 tokens"
    assert pieces(["caf", "\ufffd", "\ufffd", "<end>"], "café") == ["caf", "é", "(<end>)"]
    assert pieces(["\ufffd", "\ufffd"], "é") == ["é"]


def test_a_vocabulary_without_space_in_its_tokens_gets_it_from_the_text() -> None:
    assert pieces(["Hello", "world", "</s>"], "Hello world") == ["Hello", " world", "(</s>)"]


def test_tokens_of_another_text_are_shown_as_they_are() -> None:
    made = found(["<think>", "hm", "</think>", "Yes"], "Yes")
    assert [each.text for each in made.spans] == ["<think>", "hm", "</think>", "Yes"]
    assert made.of_tokens
    assert found(["Only", " half"], "Only half of it").of_tokens


def test_without_texts_of_tokens_nothing_is_shaded() -> None:
    assert shaded(said("probe/0", logprobs=[-0.5]), 10) is None
    assert shaded(of_tokens(["a", "b"], [-0.5], "ab"), 10) is None
    assert least_likely(said("probe/0", logprobs=[-0.5]), None, 3) == []


WORDS = st.lists(
    st.sampled_from(["a", " b", "\n", "the", " the", "é", " 😀", "<", ">", "[x]", "\x00", ""]), max_size=30
)


@given(WORDS, st.booleans())
def test_what_is_said_is_the_whole_text(words: list[str], ended: bool) -> None:
    text = "".join(words)
    made = found([*words, "<|end|>"] if ended else words, text)
    assert not made.of_tokens
    assert "".join(each.text for each in made.spans if each.in_text) == text.replace("\x00", "\u2400")


@given(WORDS, st.integers(0, 40))
def test_tokens_that_are_not_shown_are_counted(words: list[str], at_most: int) -> None:
    made = found(words, "".join(words), at_most)
    assert sum(each.tokens for each in made.spans) + made.left_out == len(words)
    assert len(made.spans) <= at_most


def test_the_least_likely_come_first_with_the_baselines_where_they_are_the_same() -> None:
    now = of_tokens(["a", "b", "c"], [-1.0, -9.0, -2.0], "abc")
    before = of_tokens(["a", "b", "c"], [-4.0, -5.0, -6.0], "abc")
    assert [(each.place, each.token, each.before) for each in least_likely(now, before, 2)] == [
        (2, "b", -5.0),
        (3, "c", -6.0),
    ]
    spaced = of_tokens([" a", "\n\t", "\x00"], [-1.0, -2.0, -3.0], " a\n\t\x00")
    assert [each.token for each in least_likely(spaced, None, 3)] == ["\u2400", "⏎⇥", "␣a"]
    assert least_likely(of_tokens(["sure", " thing"], [-0.01, 0.0], "sure thing"), None, 3) == []
    other = of_tokens(["x"], [-1.0], "x")
    assert [each.before for each in least_likely(now, other, 2)] == [None, None]
    assert [each.before for each in least_likely(now, None, 2)] == [None, None]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_on_every_shade_and_mark_can_be_read(theme: str) -> None:
    """WCAG 2.2 AA: a contrast of 4.5 to 1."""
    colours = _colours(theme)
    grounds = [f"p{number}" for number in range(1, len(EDGES) + 1)] + ["card", "good-ground", "bad-ground"]
    assert min(_contrast(colours["ink"], colours[ground]) for ground in grounds) >= 4.5
    assert _contrast(colours["faint"], colours["card"]) >= 4.5


def _colours(theme: str) -> dict[str, str]:
    templates = files("claas.dashboard").joinpath("templates")
    style = "".join(templates.joinpath(name).read_text() for name in ("style.css", "steps.css"))
    dark = "".join(re.findall(r"@media \(prefers-color-scheme: dark\) \{(.*?)\n\}", style, re.DOTALL))
    light = re.sub(r"@media \(prefers-color-scheme: dark\) \{.*?\n\}", "", style, flags=re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark if theme == "dark" else light))


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
