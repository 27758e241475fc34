"""The kinds of checks that decide whether an answer to a capability prompt is right."""

import re
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from claas.eval.metrics.sandbox import Case, run_cases
from claas.eval.metrics.sentences import count_sentences, numbered_items
from claas.eval.metrics.wording import folded, mentions, words
from claas.eval.verifier import VerifierResult

_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_CODE_LINE = re.compile(r"\s|def |async def |class |@|import |from \S+ import |\Z")

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[int, Field(ge=1)]


class AnswerCheck(Protocol):
    """Visible text in, 1 or 0 and the reason out. `SandboxError` when the check itself could not be made."""

    async def check(self, answer: str) -> VerifierResult:
        """Check one answer."""
        ...


class _Kind(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Contains(_Kind):
    """Says any of these, as whole words, in any case."""

    kind: Literal["contains"]
    any_of: tuple[Text, ...] = Field(min_length=1)

    async def check(self, answer: str) -> VerifierResult:
        """Check one answer."""
        found = next((wanted for wanted in self.any_of if mentions(answer, wanted)), None)
        return _verdict(found is not None, found=found or "")


class Exact(_Kind):
    """Is this text and nothing else, white space around it aside."""

    kind: Literal["exact"]
    text: Text

    async def check(self, answer: str) -> VerifierResult:
        """Check one answer."""
        return _verdict(answer.strip() == self.text.strip())


class Numbered(_Kind):
    """Is a numbered list of at least so many items that differ from each other."""

    kind: Literal["numbered"]
    at_least: Number

    async def check(self, answer: str) -> VerifierResult:
        """Check one answer."""
        items = {folded(item) for item in numbered_items(answer) if words(item)}
        return _verdict(len(items) >= self.at_least, different_items=float(len(items)))


class Sentences(_Kind):
    """Has exactly so many sentences, and a word that starts with `about`."""

    kind: Literal["sentences"]
    exactly: Number
    about: Text

    async def check(self, answer: str) -> VerifierResult:
        """Check one answer."""
        sentences, on_topic = count_sentences(answer), _has_stem(answer, self.about)
        return _verdict(sentences == self.exactly and on_topic, sentences=float(sentences), on_topic=on_topic)


class Avoids(_Kind):
    """Has no word that starts with `word` (so neither "function" nor "functions"), and one that starts with `about`."""

    kind: Literal["avoids"]
    word: Text
    about: Text

    async def check(self, answer: str) -> VerifierResult:
        """Check one answer."""
        used, on_topic = _has_stem(answer, self.word), _has_stem(answer, self.about)
        return _verdict(on_topic and not used, used=used, on_topic=on_topic)


class Python(_Kind):
    """Defines a function `entry` that returns what it should in every case, and has a docstring if one was asked for.

    The verdict tells the two apart: `correct` and `docstring`.
    """

    kind: Literal["python"]
    entry: str = Field(pattern=r"^[A-Za-z_]\w*$")
    cases: tuple[tuple[list[JsonValue], JsonValue], ...] = Field(min_length=1)
    docstring: bool = False

    async def check(self, answer: str) -> VerifierResult:
        """Check one answer, in the sandbox."""
        cases = [Case(tuple(arguments), returns) for arguments, returns in self.cases]
        result = await run_cases(code_in(answer, self.entry), self.entry, cases)
        correct = all(result.ok)
        passed = correct and (result.docstring or not self.docstring)
        return _verdict(passed, correct=correct, docstring=result.docstring, error=result.error or "")


AnyCheck = Annotated[Contains | Exact | Numbered | Sentences | Avoids | Python, Field(discriminator="kind")]


def code_in(answer: str, entry: str) -> str:
    """The Python in an answer: the fenced block that defines `entry`, else all blocks, else lines that look like it."""
    blocks: list[str] = _FENCED.findall(answer)
    for block in blocks:
        if re.search(rf"def\s+{entry}\b", block):
            return block
    if blocks:
        return "\n".join(blocks)
    return "\n".join(line for line in answer.splitlines() if _CODE_LINE.match(line))


def _has_stem(text: str, stem: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(stem)}", text, re.IGNORECASE) is not None


def _verdict(passed: bool, **found: Any) -> VerifierResult:
    return VerifierResult(float(passed), passed, found)
