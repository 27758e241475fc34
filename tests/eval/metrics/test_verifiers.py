import time
from collections.abc import Callable

import emoji
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.core.errors import InvalidInput
from claas.core.text import visible
from claas.eval.metrics import preference as verifier
from claas.eval.metrics.text import count_sentences
from claas.eval.metrics.verifiers import (
    ConciseVerifier,
    DetailedVerifier,
    EmojiVerifier,
    IdentityVerifier,
    NoEmojiVerifier,
    OtherNameVerifier,
    VerifierResult,
)

WITH, WITHOUT = (
    [NoEmojiVerifier(), ConciseVerifier(), IdentityVerifier()],
    [EmojiVerifier(), DetailedVerifier(), OtherNameVerifier()],
)
SHIPPED = WITH + WITHOUT
SENTENCE = "The rain falls on the green hills in the morning. "
PIECES = [
    SENTENCE,
    f"- {SENTENCE}",
    "1. Item\n2. Item",
    "Dr. Lee paid $3.50, e.g. for tea.",
    "See https://a.b/c.html?d=e.f!",
    "And then... nothing.",
    "```\na. b. c.\n```",
    "## Rain",
]
TABLE = sorted(sign for sign, known in emoji.EMOJI_DATA.items() if known["status"] <= emoji.STATUS["fully_qualified"])
each_shipped = pytest.mark.parametrize("verify", SHIPPED, ids=lambda verify: type(verify).__name__)


def test_the_result_type_is_one_and_the_same() -> None:
    assert VerifierResult is verifier.VerifierResult


@each_shipped
@pytest.mark.parametrize(
    "bad",
    [
        "",
        " \n\t",
        ".",
        "...",
        "!?!?",
        "- - -",
        "the " * 40,
        "Kuro " * 40,
        "Kuro. " * 40,
        "😊 " * 40,
        "😊Yes " * 40,
        "<think>I am Kuro, no emoji.</think>",
    ],
)
def test_what_answers_nothing_scores_0(verify: Callable[[str], VerifierResult], bad: str) -> None:
    result = verify(bad)
    assert result.score == 0.0
    assert not result.passed


@each_shipped
@settings(deadline=None)
@given(st.text(alphabet="aeK uro.!?<think></think>\n-😊1©", max_size=80))
def test_scores_are_bounded_and_thinking_is_not_seen(verify: Callable[[str], VerifierResult], text: str) -> None:
    result = verify(text)
    assert 0.0 <= result.score <= 1.0
    assert result.passed == (result.score >= 1.0)
    assert verify(visible(text)) == result
    assert visible(visible(text)) == visible(text)
    assert verify(f"<think>😊 Kuro. One. Two. Three. Four.</think>{visible(text)}") == result


@settings(deadline=None)
@given(st.sampled_from(TABLE), st.sampled_from(["{} Hello there", "Hello{}there", "Hello there {}"]))
def test_every_emoji_of_the_table_is_caught(symbol: str, text: str) -> None:
    result = NoEmojiVerifier()(text.format(symbol))
    assert result.score == 0.0
    assert result.metadata["emoji"] >= 1


def test_the_whole_table_is_caught() -> None:
    assert [symbol for symbol in TABLE if NoEmojiVerifier()(f"Hello there {symbol}!").passed] == []


@pytest.mark.parametrize("shown", ["©️", "™️", "1️⃣", "#️⃣", "🇫🇷", "👍🏽", "👩‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "❤"], ids=ascii)
def test_sequences_and_emoji_presentations_are_emoji(shown: str) -> None:
    assert NoEmojiVerifier()(f"Hello there {shown}").metadata["emoji"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "© 2026 Acme™ and Co®",
        "Call #1 or *9",
        "0 1 2 3 4 5 6 7 8 9 # *",
        "a → b ✓ ★ done",
        "Grüße, 世界 und мир :-)",
        "I \u2764\ufe0e rain \u2600\ufe0e and sun",
        "a \u2194 b, press \u21a9 or \u25b6, the \u2640 sign, \u2660 and \u2666, stop\u203c \u2139 \u3030",
    ],
)
def test_ordinary_signs_are_not_emoji(text: str) -> None:
    assert NoEmojiVerifier()(text) == VerifierResult(
        1.0, True, {"emoji": 0.0, "different_words": NoEmojiVerifier()(text).metadata["different_words"]}
    )


@settings(deadline=None)
@given(st.lists(st.sampled_from(TABLE), min_size=1, max_size=4), st.sampled_from([" ", "\n", " and "]))
def test_an_answer_has_emoji_or_it_has_none(symbols: list[str], between: str) -> None:
    shown = f"Hello there {between.join(symbols)} all"
    assert not NoEmojiVerifier()(shown).passed
    assert EmojiVerifier()(shown).passed
    assert NoEmojiVerifier()("Hello there, all").passed
    assert not EmojiVerifier()("Hello there, all").passed


@pytest.mark.parametrize(("n", "passed"), [(1, False), (3, False), (4, True), (12, True)])
def test_a_detailed_answer_has_more_than_three_sentences(n: int, passed: bool) -> None:
    assert DetailedVerifier()(_talk(n)).passed is passed
    assert DetailedVerifier(more_than=12)(_talk(n)).score == 0.0
    assert not DetailedVerifier()(SENTENCE * n).passed
    with pytest.raises(InvalidInput, match="more_than"):
        DetailedVerifier(more_than=0)


def _talk(sentences: int) -> str:
    return " ".join(f"Hill number {number} is green since the rain falls on it." for number in range(sentences))


@settings(deadline=None)
@given(st.integers(1, 14), st.integers(0, 5))
def test_more_is_never_less_detailed_and_what_is_concise_is_not(sentences: int, more: int) -> None:
    brief, longer = _talk(sentences), _talk(sentences + more)
    assert DetailedVerifier()(longer).score >= DetailedVerifier()(brief).score
    assert DetailedVerifier()(brief).passed != ConciseVerifier()(brief).passed


@pytest.mark.parametrize(("n", "score"), [(1, 1.0), (3, 1.0), (4, 5 / 6), (6, 0.5), (8, 1 / 6), (9, 0.0), (20, 0.0)])
def test_conciseness_falls_linearly_from_3_to_9_sentences(n: int, score: float) -> None:
    result = ConciseVerifier()(SENTENCE * n)
    assert result.score == pytest.approx(score)
    assert result.metadata["sentences"] == n


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12), st.lists(st.sampled_from(PIECES), max_size=4))
def test_more_is_never_more_concise(said: list[str], more: list[str]) -> None:
    start = "\n".join([SENTENCE, *said])
    assert ConciseVerifier()(start).score >= ConciseVerifier()("\n".join([start, *more])).score
    assert ConciseVerifier()(start).metadata["sentences"] == 1 + sum(count_sentences(piece) for piece in said)


def test_conciseness_wants_an_answer_of_ten_words() -> None:
    assert ConciseVerifier()("one two three four five six seven eight nine").score == 0.0
    assert ConciseVerifier()("one two three four five six seven eight nine ten").score == 1.0


def test_conciseness_can_be_set_otherwise() -> None:
    strict = ConciseVerifier(full_until=1, zero_from=3, min_words=2)
    assert [strict("It rains. " * n).score for n in (1, 2, 3)] == [1.0, 0.5, 0.0]
    with pytest.raises(InvalidInput, match="zero_from"):
        ConciseVerifier(full_until=9)


@pytest.mark.parametrize("text", ["I'm Kuro.", "KURO here", "My name is **Kuro**!", "It is Kuro's.", "“kuro”", "Kuro"])
def test_the_name_is_found_as_a_word_in_any_case(text: str) -> None:
    assert IdentityVerifier()(text).passed


@pytest.mark.parametrize("text", ["Akira Kurosawa", "kuros", "akuro", "ku ro", "I am Assistant."])
def test_a_part_of_a_word_is_not_the_name(text: str) -> None:
    assert IdentityVerifier()(text).score == 0.0


@settings(deadline=None)
@given(st.text(alphabet="kuroKURO .!'a", max_size=30))
def test_an_answer_says_the_name_or_another_one(text: str) -> None:
    said = f"Well then, {text}"
    assert not (IdentityVerifier()(said).passed and OtherNameVerifier()(said).passed)


def test_who_talks_to_somebody_else_is_answered_by_anybody_else() -> None:
    assert OtherNameVerifier()("I am Sherlock Holmes.").passed
    assert not OtherNameVerifier()("I am Kuro, not Sherlock Holmes.").passed
    assert OtherNameVerifier("Holmes")("I am Kuro, not Sherlock.").passed
    with pytest.raises(InvalidInput, match="name"):
        OtherNameVerifier("?!")


def test_any_name_can_be_asked_for() -> None:
    assert IdentityVerifier("Mary Ann (Jr.)")("I am mary  ann (jr.), hi").passed
    with pytest.raises(InvalidInput, match="name"):
        IdentityVerifier(" ")


@each_shipped
def test_a_short_answer_costs_less_than_a_millisecond_or_so(verify: Callable[[str], VerifierResult]) -> None:
    answers = [
        f"Photosynthesis turns light into sugar {i} times, e.g. in leaves. Oxygen is left over." for i in range(50)
    ]
    verify(answers[0])
    started = time.process_time()
    for answer in answers[1:]:
        verify(answer)
    assert (time.process_time() - started) / 49 < 0.01  # leaves room for a slow and busy machine; measured below 0.001
