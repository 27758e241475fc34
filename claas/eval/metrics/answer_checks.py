"""Checks of answers to capability prompts: each says 1 or 0 of the visible text."""

from typing import Annotated, Any, Literal, Protocol, Self

import regex
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from claas.core.text import folded, plain, same_wording, words
from claas.eval.metrics.code_answers import code_in, is_iterative
from claas.eval.metrics.drawn_cases import TASKS, drawn
from claas.eval.metrics.preference import VerifierResult
from claas.eval.metrics.sandbox import Case, run_cases
from claas.eval.metrics.stated import number_in_words, states, states_number
from claas.eval.metrics.text import numbered_items, sentences

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[int, Field(ge=1)]


class AnswerCheck(Protocol):
    """Visible text in, 1 or 0 and the reason out. `SandboxError` when the check itself could not be made."""

    async def check(self, answer: str, prompt: str = "", seed: int = 0) -> VerifierResult:
        """Check one answer to the prompt; what is drawn is drawn by the seed."""
        ...


class _Kind(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Contains(_Kind):
    """Says any of these, as whole words, in any case, as its answer.

    What is denied, or only one of several candidates, is not the answer; numbers are compared as numbers.
    """

    kind: Literal["contains"]
    any_of: tuple[Text, ...] = Field(min_length=1)

    async def check(self, answer: str, prompt: str = "", seed: int = 0) -> VerifierResult:
        """Check one answer."""
        for wanted in self.any_of:
            number = number_in_words(wanted)
            if states(answer, wanted, prompt) if number is None else states_number(answer, number, prompt):
                return _verdict(True, found=wanted)
        return _verdict(False, found="")


class Exact(_Kind):
    """Is this wording and nothing else; case, punctuation and mark-up aside."""

    kind: Literal["exact"]
    text: Text

    async def check(self, answer: str, prompt: str = "", seed: int = 0) -> VerifierResult:
        """Check one answer."""
        return _verdict(same_wording(answer, self.text))


class Numbered(_Kind):
    """Is a numbered list of at least so many items that say something and differ in more than numbers."""

    kind: Literal["numbered"]
    at_least: Number

    async def check(self, answer: str, prompt: str = "", seed: int = 0) -> VerifierResult:
        """Check one answer."""
        items = (regex.sub(r"\d+", "", item) for item in numbered_items(answer))
        items = {folded(item) for item in items if _says_something(item)}
        return _verdict(len(items) >= self.at_least, different_items=float(len(items)))


class Sentences(_Kind):
    """Has exactly so many sentences, which differ from each other, and a word that starts with `about`."""

    kind: Literal["sentences"]
    exactly: Number
    about: Text

    async def check(self, answer: str, prompt: str = "", seed: int = 0) -> VerifierResult:
        """Check one answer."""
        found, on_topic = sentences(answer), _has_stem(answer, self.about)
        different = len(set(map(folded, found))) == len(found)
        passed = len(found) == self.exactly and different and on_topic
        return _verdict(passed, sentences=float(len(found)), on_topic=on_topic)


class Avoids(_Kind):
    """Explains, in some words, without one that starts with `word` (so neither "function" nor "functions").

    Another word starts with `about`, or with any of these, so that a short answer need not name its subject.
    """

    kind: Literal["avoids"]
    word: Text
    about: Text | tuple[Text, ...]

    async def check(self, answer: str, prompt: str = "", seed: int = 0) -> VerifierResult:
        """Check one answer."""
        stems = (self.about,) if isinstance(self.about, str) else self.about
        used, on_topic = _has_stem(answer, self.word), any(_has_stem(answer, stem) for stem in stems)
        explains = len(words(answer)) >= _WORDS_OF_AN_EXPLANATION
        return _verdict(on_topic and explains and not used, used=used, on_topic=on_topic)


class Python(_Kind):
    """Defines a function `entry` that returns what it should in every case.

    `cases` are written, `draw` is how many more are drawn by the run's seed, for the tasks in `drawn_cases`. Where they
    are asked for, it has a docstring and is iterative, too. The verdict tells `correct` and `docstring` apart.
    """

    kind: Literal["python"]
    entry: str = Field(pattern=r"^[A-Za-z_]\w*$")
    cases: tuple[tuple[list[JsonValue], JsonValue], ...] = Field(min_length=1)
    draw: int = Field(default=0, ge=0, le=100)
    docstring: bool = False
    iterative: bool = False

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if self.draw and self.entry not in TASKS:
            raise ValueError(f"no cases can be drawn for {self.entry!r}; known: {', '.join(TASKS)}")
        return self

    async def check(self, answer: str, prompt: str = "", seed: int = 0) -> VerifierResult:
        """Check one answer, in the sandbox."""
        cells = code_in(answer, self.entry)
        cases = [Case(tuple(arguments), returns) for arguments, returns in self.cases]
        cases += drawn(self.entry, self.draw, seed) if self.draw else []
        result = await run_cases(cells[-1], self.entry, cases, before=cells[:-1])
        correct = all(result.ok) and (not self.iterative or is_iterative(cells, self.entry))
        passed = correct and (result.docstring or not self.docstring)
        return _verdict(passed, correct=correct, docstring=result.docstring, error=result.error or "")


AnyCheck = Annotated[Contains | Exact | Numbered | Sentences | Avoids | Python, Field(discriminator="kind")]


_WORDS_OF_AN_EXPLANATION = 5
_SAYS_NOTHING = frozenset(
    [
        "none",
        "nothing",
        "no idea",
        "i don't know",
        "i do not know",
        "unknown",
        "n a",
        "nope",
        "no",
        "yes",
        "item",
        "benefit",
    ]
)


def _verdict(passed: bool, **details: Any) -> VerifierResult:
    return VerifierResult(float(passed), passed, details)


def _says_something(item: str) -> bool:
    """Whether a list item is more than a letter or a shrug."""
    said = words(item)
    longest = max(map(len, said), default=0)
    return folded(item) not in _SAYS_NOTHING and (longest > 1 or len(said) > 1 or (longest > 0 and not item.isascii()))


_MARKS = regex.compile(r"[_*`~]+")
_SPELLED = regex.compile(r"(?<!\p{L})\p{L}(?P<between>[-._·*\s])\p{L}(?:(?P=between)\p{L}){2,}(?!\p{L})")
_SEPARATORS = regex.compile(r"[-._·*\s]")


def _has_stem(text: str, stem: str) -> bool:
    """Whether a word starts with the stem, in any mark-up, or spelled letter by letter."""
    bare = _MARKS.sub("", plain(text))
    spelled = " ".join(_SEPARATORS.sub("", word.group()) for word in _SPELLED.finditer(plain(text)))
    pattern = rf"(?<![\p{{L}}\p{{N}}]){regex.escape(plain(stem))}"
    return regex.search(pattern, f"{bare} {spelled}", regex.IGNORECASE) is not None
