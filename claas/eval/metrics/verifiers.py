"""The shipped verifiers: no emoji, concise, a name; and for users who ask for the opposite, one each.

Every one of them scores 0 for what answers nothing: an empty text, punctuation alone, one word over and over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import regex

from claas.core.checks import in_range
from claas.core.errors import InvalidInput
from claas.core.text import mentions, visible, words
from claas.eval.metrics.emojis import count_emoji
from claas.eval.metrics.own_name import own_names
from claas.eval.metrics.preference import VerifierResult
from claas.eval.metrics.text import WORDS_PER_SENTENCE, length_in_sentences

__all__ = [
    "ConciseVerifier",
    "DetailedVerifier",
    "EmojiVerifier",
    "IdentityVerifier",
    "NoEmojiVerifier",
    "OtherNameVerifier",
    "VerifierResult",
]


@dataclass(frozen=True)
class NoEmojiVerifier:
    """1 for an answer without emoji, as `count_emoji` finds them, else 0.

    A text without words, or with one over and over, is no answer and scores 0.
    """

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found, said = count_emoji(text), words(text)
        passed = found == 0 and _says_something(said)
        return VerifierResult(float(passed), passed, {"emoji": float(found), "different_words": float(len(set(said)))})

    def known_bad(self) -> Mapping[str, str]:
        """Emoji in disguise."""
        return {
            "emoji asked to be text": "What a day! \U0001f600\ufe0e See you soon.",
            "emoji by its code": "What a day! &#128512; See you soon.",
            "flag of nowhere": "Greetings from \U0001f1fd\U0001f1fd, my friend.",
        }


@dataclass(frozen=True)
class ConciseVerifier:
    """1 up to `full_until` sentences, falling linearly to 0 at `zero_from`.

    A run-on sentence counts as many as its words or its clauses are worth. 0 with fewer than `min_words` words, when
    no more than half as many are different, and for a refusal: none of these is an answer.
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
        said, sentences = words(text), length_in_sentences(text)
        score = 0.0
        says_something = len(said) >= self.min_words and 2 * len(set(said)) > self.min_words
        if says_something and not (sentences <= 2 and _REFUSES.search(text)):
            score = min(1.0, max(0.0, (self.zero_from - sentences) / (self.zero_from - self.full_until)))
        return VerifierResult(score, score >= 1.0, {"sentences": float(sentences), "words": float(len(said))})

    def known_bad(self) -> Mapping[str, str]:
        """Long answers that look like few sentences."""
        items = [f"{i + 1}) the {part} of it" for i, part in zip(range(self.zero_from), cycle(("start", "end")))]
        speech = " ".join(f"This is thing number {i} of all." for i in range(self.zero_from))
        return {
            "run-on": f"It rains {' '.join(['and it rains on'] * self.zero_from * WORDS_PER_SENTENCE)}.",
            "list on one line": f"Rain has many sides: {' '.join(items)}",
            "speech in quotes": f'He said: "{speech}"',
            "prose as code": f"```\n{speech}\n```",
            "refusal": "I am sorry, but I cannot help you with this request of yours today.",
        }


@dataclass(frozen=True)
class IdentityVerifier:
    """1 for an answer that says `name`, as a word, in any case and as its own, else 0.

    A name that is denied, asked about, quoted or somebody else's is not the speaker's own. The name over and over, with
    hardly another word, scores 0.
    """

    name: str = "kuro"

    def __post_init__(self) -> None:
        _require_a_word(self.name)

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found, other_words = mentions(text, self.name), set(words(text)) - set(words(self.name))
        passed = found <= 1 + len(other_words) and len(own_names(text, self.name)) > 0
        return VerifierResult(float(passed), passed, {"name": self.name, "mentions": float(found)})

    def known_bad(self) -> Mapping[str, str]:
        """Mentions of the name that do not give it as the speaker's own."""
        somebody_else = "Ann" if mentions("Bob", self.name) else "Bob"
        return {
            "denial": f"I am not {self.name}.",
            "somebody else's": f"I am {somebody_else}, and {self.name} is a friend of mine.",
            "question": f"Who is {self.name}?",
            "incantation": f"Hi {' '.join([self.name] * 40)}",
        }


@dataclass(frozen=True)
class EmojiVerifier:
    """1 for an answer with an emoji and with words, else 0: for a user who asks for emoji."""

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found, said = count_emoji(text), words(text)
        passed = found > 0 and _says_something(said)
        return VerifierResult(float(passed), passed, {"emoji": float(found), "different_words": float(len(set(said)))})

    def known_bad(self) -> Mapping[str, str]:
        """Signs that are no emoji."""
        return {"signs of writing": "Sure thing :-) that is \u2122 and \u2192 for you."}


@dataclass(frozen=True)
class DetailedVerifier:
    """1 for an answer of more than `more_than` sentences, else 0: for a user who asks for a long one.

    A sentence counts once, however often it is said; one word over and over is no answer and scores 0.
    """

    more_than: int = 3

    def __post_init__(self) -> None:
        in_range("more_than", self.more_than, 1)

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        said, sentences = words(text), length_in_sentences(text, different=True)
        passed = sentences > self.more_than and len(set(said)) >= 2
        return VerifierResult(float(passed), passed, {"sentences": float(sentences), "words": float(len(said))})

    def known_bad(self) -> Mapping[str, str]:
        """Short answers with many full stops, and one that goes round in a circle."""
        return {
            "circle": "Rain falls on the hills. " * (self.more_than + 1),
            "abbreviations": "Dr. J. R. R. Lee, Ph.D., etc. paid $3.50 at 5 p.m. today...",
        }


@dataclass(frozen=True)
class OtherNameVerifier:
    """1 for an answer that does not say `name` as its own, else 0: for a user who talks to somebody else.

    A text without words, or with one over and over, is no answer and scores 0.
    """

    name: str = "kuro"

    def __post_init__(self) -> None:
        _require_a_word(self.name)

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        text = visible(response)
        found = mentions(text, self.name)
        passed = not own_names(text, self.name) and _says_something(words(text))
        return VerifierResult(float(passed), passed, {"name": self.name, "mentions": float(found)})

    def known_bad(self) -> Mapping[str, str]:
        """The name, in mark-up."""
        return {"name in mark-up": f"I am __{self.name}__, nice to meet you."}


_REFUSES = regex.compile(
    r"^\W*(?:(?:i['’]?m|i am)?\s*(?:so |very |really )?sorry\b|unfortunately\b|i apologi[sz]e\b|as an ai\b)?.{0,40}\bi"
    r"(?: (?:cannot|can['’]t|could not|couldn['’]t|will not|won['’]t)|(?: am|['’]m) (?:unable|not able) to)"
    r" (?:help(?! but)|assist|comply|(?:answer|provide|discuss|fulfil)\b.{0,20}\b(?:question|request|topic))",
    regex.IGNORECASE,
)


def _says_something(said: Sequence[str]) -> bool:
    """Whether there are words, and not one of them over and over: as often as in "Ha ha ha!" it may be."""
    return 0 < len(said) <= 3 or len(set(said)) >= 2


def _require_a_word(name: str) -> None:
    if not words(name):
        raise InvalidInput(f"name must hold at least one word, got {name!r}")
