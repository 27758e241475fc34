"""The shipped verifiers: no emoji, concise, and a name.

Every one of them scores 0 for what answers nothing: an empty text, punctuation alone, one token over and over.
"""

from dataclasses import dataclass
from functools import lru_cache

import emoji

from claas.core.checks import in_range
from claas.core.errors import InvalidInput
from claas.core.text import visible
from claas.eval.metrics.sentences import count_sentences
from claas.eval.metrics.wording import mentions, words
from claas.eval.verifier import VerifierResult

__all__ = ["ConciseVerifier", "IdentityVerifier", "NoEmojiVerifier", "VerifierResult"]

_TEXT_SYMBOLS = frozenset("©®™")
"""In the emoji table, but ordinary signs of writing unless the emoji presentation is asked for (U+FE0F)."""


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
        if not words(self.name):
            raise InvalidInput(f"name must hold at least one word, got {self.name!r}")

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found, said = mentions(text, self.name), words(text)
        passed = found > 0 and said != words(self.name) * max(2, found)
        return VerifierResult(float(passed), passed, {"name": self.name, "mentions": float(found)})


@lru_cache(maxsize=8192)
def count_emoji(text: str) -> int:
    """How many emoji a text shows."""
    if text.isascii():
        return 0
    return sum(1 for match in emoji.emoji_list(text) if match["emoji"] not in _TEXT_SYMBOLS)
