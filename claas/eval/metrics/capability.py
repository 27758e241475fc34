"""What the model can still do that has nothing to do with the preference: short prompts with checkable answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from claas.core import yaml_files
from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.text import same_wording, visible
from claas.core.yaml_files import ConfigDir
from claas.eval.metrics.answer_checks import AnyCheck
from claas.eval.metrics.compliance import ECHO, with_verdict
from claas.eval.metrics.limits import drawn
from claas.eval.metrics.metric import Measurement, Subject, counted, mean
from claas.eval.metrics.sandbox import SandboxError
from claas.results.keys import Criterion, Items, Key, Question, Role
from claas.results.records import Transcript
from claas.results.settings import EvalConfig


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

    def for_run(self, config: EvalConfig) -> Self:
        """The metric over at most as many items as the run allows."""
        return replace(self, items=drawn(self.items, "capability", config.limit, config.seed))

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
        echoes = same_wording(text, item.prompt)
        result = ECHO if echoes else await item.check.check(text, item.prompt, subject.run_seed)
    except SandboxError as error:
        return transcript.model_copy(update={"error": str(error)})
    return with_verdict(transcript, result)


def _pass_rate(verdicts: Mapping[str, Mapping[str, object]], items: Sequence[str]) -> float | None:
    """The share of these items that passed, among those that were checked."""
    return mean(float(verdicts[item]["passed"] is True) for item in items if item in verdicts)
