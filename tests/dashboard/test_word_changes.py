"""What two answers say differently, word by word."""

from hypothesis import given
from hypothesis import strategies as st

from claas.dashboard.transcript import MOST_WORDS, Stretch, word_changes

SPOKEN = st.lists(st.sampled_from(["a ", "b ", "the ", "dog", ", ", "\n", "é", "😀", "<b>"]), max_size=80).map("".join)


def joined(runs: tuple[Stretch, ...]) -> str:
    return "".join(run.text for run in runs)


def test_words_are_compared_and_not_letters() -> None:
    found = word_changes("a cat sat", "a cart sat")
    assert found.before == (Stretch("a", False), Stretch(" cat", True), Stretch(" sat", False))
    assert found.after == (Stretch("a", False), Stretch(" cart", True), Stretch(" sat", False))


def test_a_text_that_goes_on_is_the_same_up_to_there() -> None:
    found = word_changes("It rains. It pours.\n", "It rains.")
    assert found.before == (Stretch("It rains.", False), Stretch(" It pours.\n", True))
    assert found.after == (Stretch("It rains.", False),)


def test_words_said_over_and_over_are_still_compared() -> None:
    found = word_changes("la " * 300 + "di da", "la " * 300 + "da")
    assert [run.text for run in found.before if run.changed] == [" di"]


@given(SPOKEN, SPOKEN)
def test_nothing_is_lost_and_what_is_unchanged_is_in_both(before: str, after: str) -> None:
    found = word_changes(before, after)
    assert (joined(found.before), joined(found.after)) == (before, after)
    same = ["".join(run.text for run in runs if not run.changed) for runs in (found.before, found.after)]
    assert same[0] == same[1]
    assert any(run.changed for run in (*found.before, *found.after)) == (before != after)


@given(SPOKEN)
def test_equal_texts_have_no_changes(text: str) -> None:
    assert not any(run.changed for run in word_changes(text, text).before)


def test_beyond_its_bound_text_is_kept_counted_and_not_compared() -> None:
    one, other = " a" * MOST_WORDS + " ab" * MOST_WORDS, " b" * MOST_WORDS + " ba" * MOST_WORDS
    found = word_changes(one, other)
    assert (joined(found.before), joined(found.after)) == (one, other)
    assert found.uncompared == 2 * MOST_WORDS
    assert [run.changed for run in found.before] == [True, False]
