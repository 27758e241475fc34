"""The shipped verifiers: no emoji, concise, a name; and for users who ask for the opposite, one each.

Every one of them scores 0 for what answers nothing: an empty text, punctuation alone, one token over and over.
"""

from dataclasses import dataclass
from functools import lru_cache

import emoji

from claas.core.checks import in_range
from claas.core.errors import InvalidInput
from claas.core.text import mentions, visible, words
from claas.eval.metrics.preference import VerifierResult
from claas.eval.metrics.text import count_sentences

__all__ = [
    "ConciseVerifier",
    "DetailedVerifier",
    "EmojiVerifier",
    "IdentityVerifier",
    "NoEmojiVerifier",
    "OtherNameVerifier",
    "VerifierResult",
]

_TEXT_SYMBOLS = frozenset("©®™")
"""In the emoji table, but ordinary signs of writing unless the emoji presentation is asked for (U+FE0F)."""
_AS_TEXT = "\ufe0e"


@dataclass(frozen=True)
class NoEmojiVerifier:
    """1 for an answer without emoji, else 0. Fewer than two different words are no answer and score 0.

    Emoji are those of the `emoji` package's Unicode table: keycaps, flags, skin tones and joined sequences too.
    """

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found, different_words = count_emoji(text), len(set(words(text)))
        passed = found == 0 and different_words >= 2
        return VerifierResult(float(passed), passed, {"emoji": float(found), "different_words": float(different_words)})


@dataclass(frozen=True)
class ConciseVerifier:
    """1 up to `full_until` sentences, falling linearly to 0 at `zero_from`.

    0 with fewer than `min_words` words, or with one word only, however often: too short to be an answer.
    """

    full_until: int = 3
    zero_from: int = 9
    min_words: int = 10

    def __post_init__(self) -> None:
        in_range("full_until", self.full_until, 1)
        in_range("zero_from", self.zero_from, self.full_until, above=True)
        in_range("min_words", self.min_words, 2)

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        said, sentences = words(text), count_sentences(text)
        score = 0.0
        if len(said) >= self.min_words and len(set(said)) >= 2:
            score = min(1.0, max(0.0, (self.zero_from - sentences) / (self.zero_from - self.full_until)))
        return VerifierResult(score, score >= 1.0, {"sentences": float(sentences), "words": float(len(said))})


@dataclass(frozen=True)
class IdentityVerifier:
    """1 for an answer that says `name` as a word, in any case, else 0. The name said over and over scores 0."""

    name: str = "kuro"

    def __post_init__(self) -> None:
        _require_a_word(self.name)

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found, said = mentions(text, self.name), words(text)
        passed = found > 0 and said != words(self.name) * max(2, found)
        return VerifierResult(float(passed), passed, {"name": self.name, "mentions": float(found)})


@dataclass(frozen=True)
class EmojiVerifier:
    """1 for an answer with an emoji and at least two different words, else 0: for a user who asks for emoji."""

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found, different_words = count_emoji(text), len(set(words(text)))
        passed = found > 0 and different_words >= 2
        return VerifierResult(float(passed), passed, {"emoji": float(found), "different_words": float(different_words)})


@dataclass(frozen=True)
class DetailedVerifier:
    """1 for an answer of more than `more_than` sentences, else 0: for a user who asks for a long one.

    One word over and over is no answer and scores 0, however it is cut into sentences.
    """

    more_than: int = 3

    def __post_init__(self) -> None:
        in_range("more_than", self.more_than, 1)

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        said, sentences = words(text), count_sentences(text)
        passed = sentences > self.more_than and len(set(said)) >= 2
        return VerifierResult(float(passed), passed, {"sentences": float(sentences), "words": float(len(said))})


@dataclass(frozen=True)
class OtherNameVerifier:
    """1 for an answer that does not say `name`, else 0: for a user who talks to somebody else.

    Fewer than two different words are no answer and score 0.
    """

    name: str = "kuro"

    def __post_init__(self) -> None:
        _require_a_word(self.name)

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found = mentions(text, self.name)
        passed = found == 0 and len(set(words(text))) >= 2
        return VerifierResult(float(passed), passed, {"name": self.name, "mentions": float(found)})


@lru_cache(maxsize=8192)
def count_emoji(text: str) -> int:
    """How many emoji a text shows; a symbol that asks to be shown as text (U+FE0E follows it) is none."""
    if text.isascii():
        return 0
    found = emoji.emoji_list(text)
    return sum(
        1 for each in found if each["emoji"] not in _TEXT_SYMBOLS and not text.startswith(_AS_TEXT, each["match_end"])
    )


def _require_a_word(name: str) -> None:
    if not words(name):
        raise InvalidInput(f"name must hold at least one word, got {name!r}")
