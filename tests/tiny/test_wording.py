from random import Random

import pytest

from claas.tiny.corpus.wording import fill, spin


def wordings(template: str) -> set[str]:
    return {spin(template, Random(seed)) for seed in range(200)}


def test_a_choice_takes_each_of_its_alternatives() -> None:
    assert wordings("{a|b}c{d|}") == {"acd", "ac", "bcd", "bc"}


def test_choices_nest() -> None:
    assert wordings("{a{1|2}|b}") == {"a1", "a2", "b"}


def test_slots_are_filled_and_unknown_ones_stay() -> None:
    assert spin("{<x>} is <y>", Random(0), x="this") == "this is <y>"
    assert fill("<a><a>", a="b") == "bb"


@pytest.mark.parametrize("template", ["{a|b", "a}b", "a|b", "{a{b}"])
def test_unbalanced_braces_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="unbalanced"):
        spin(template, Random(0))
