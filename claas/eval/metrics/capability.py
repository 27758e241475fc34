"""What the model can still do that has nothing to do with the preference: short prompts with checkable answers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from claas.core import yaml_files
from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.text import folded, mentions, same_wording, visible, words
from claas.core.yaml_files import ConfigDir
from claas.eval.metrics.compliance import ECHO, with_verdict
from claas.eval.metrics.metric import Measurement, Subject, counted, mean
from claas.eval.metrics.preference import VerifierResult
from claas.eval.metrics.sandbox import Case, SandboxError, run_cases
from claas.eval.metrics.text import count_sentences, numbered_items
from claas.results.keys import Criterion, Items, Key, Question, Role
from claas.results.records import Transcript

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
        mentioned = next((wanted for wanted in self.any_of if mentions(answer, wanted)), None)
        return _verdict(mentioned is not None, found=mentioned or "")


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


def _verdict(passed: bool, **details: Any) -> VerifierResult:
    return VerifierResult(float(passed), passed, details)


def _has_stem(text: str, stem: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(stem)}", text, re.IGNORECASE) is not None


_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_CODE_LINE = re.compile(r"\s|def |async def |class |@|import |from \S+ import |\Z")


def code_in(answer: str, entry: str) -> str:
    """The Python in an answer: the fenced block that defines `entry`, else all blocks, else lines that look like it."""
    blocks: list[str] = _FENCED.findall(answer)
    for block in blocks:
        if re.search(rf"def\s+{entry}\b", block):
            return block
    if blocks:
        return "\n".join(blocks)
    return "\n".join(line for line in answer.splitlines() if _CODE_LINE.match(line))


class CapabilityItem(BaseModel):
    """One prompt and the check of its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^\w+$")
    prompt: str = Field(min_length=1)
    check: AnyCheck


class _Suite(BaseModel):
    items: tuple[CapabilityItem, ...] = Field(min_length=1)


_CODING = "fibonacci"
_IFEVAL = ("three_sentences", "five_benefits", "recursion_without_function")


@dataclass(frozen=True)
class General:
    """Greedy answers to a suite of prompts, each right or wrong.

    `coding_correct` and `coding_has_docstring` are of the item `fibonacci`, `ifeval_pass_rate` of the three that ask
    for a form, `general_score` weighs correct code and form equally, `capability_pass_rate` is over the whole suite.
    """

    keys: ClassVar[tuple[Key, ...]] = (
        Key(
            key="general.general_score",
            title="General score",
            unit="score in [0, 1]",
            limits=(0.0, 1.0),
            better="higher",
            question=Question.FORGETTING,
            role=Role.GENERAL,
            axis=(-0.03, 1.03),
        ),
        Key(
            key="general.capability_pass_rate",
            title="Capability items",
            unit="pass rate",
            limits=(0.0, 1.0),
            better="higher",
            question=Question.FORGETTING,
            axis=(-0.03, 1.03),
            heading="capability",
            alarm="capability lost",
            items=Items(metric="general", flips="capability"),
            criterion=Criterion(
                name="capability_retention",
                relation=">",
                threshold=0.9,
                estimator="retention",
                meaning="capability stays above this fraction of baseline",
                formula="sum of item scores / the same items' at baseline",
            ),
        ),
        Key(
            key="general.coding_correct",
            title="Whether the coding item's function is correct",
            limits=(0.0, 1.0),
            better="higher",
        ),
        Key(
            key="general.coding_has_docstring",
            title="Whether the coding item's function has a docstring",
            limits=(0.0, 1.0),
            better="higher",
        ),
        Key(
            key="general.ifeval_pass_rate",
            title="Share of the items that ask for a form",
            limits=(0.0, 1.0),
            better="higher",
        ),
    )

    items: tuple[CapabilityItem, ...]

    @classmethod
    def from_suite(cls, suite: str = "default", config_dir: ConfigDir = None) -> Self:
        """The metric over `capability/<suite>.yaml`, or over the file at a path."""
        path = yaml_files.find("capability", suite, config_dir)
        items = yaml_files.checked(_Suite, {"items": yaml_files.read(path)}, path).items
        if len({item.id for item in items}) != len(items):
            raise InvalidInput(f"{path}: two items have the same id")
        return cls(items)

    def due(self, step: int | None, collapse_steps: frozenset[int]) -> bool:
        """At every step."""
        return True

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every prompt and check every answer."""
        asked = await together(_checked(subject, item) for item in self.items)
        verdicts = {transcript.item: transcript.verdict for transcript in asked if transcript.verdict is not None}
        coding = verdicts.get(_CODING)
        correct = None if coding is None else float(coding.get("correct") is True)
        ifeval = _pass_rate(verdicts, _IFEVAL)
        values: dict[str, float | None] = {
            "coding_correct": correct,
            "coding_has_docstring": None if coding is None else float(coding.get("docstring") is True),
            "ifeval_pass_rate": ifeval,
            "general_score": None if correct is None or ifeval is None else 0.5 * correct + 0.5 * ifeval,
            "capability_pass_rate": _pass_rate(verdicts, list(verdicts)),
        }
        return Measurement({"general": values}, {"general": counted(asked)}, tuple(asked))


async def _checked(subject: Subject, item: CapabilityItem) -> Transcript:
    transcript, answer = await subject.answer("general", item.id, item.prompt)
    if answer is None:
        return transcript
    text = visible(answer.text)
    try:
        result = ECHO if same_wording(text, item.prompt) else await item.check.check(text)
    except SandboxError as error:
        return transcript.model_copy(update={"error": str(error)})
    return with_verdict(transcript, result)


def _pass_rate(verdicts: Mapping[str, Mapping[str, object]], items: Sequence[str]) -> float | None:
    """The share of these items that passed, among those that were checked."""
    return mean(float(verdicts[item]["passed"] is True) for item in items if item in verdicts)
