"""Capabilities that have nothing to do with the preference: short prompts with checkable answers."""

from collections.abc import Iterable, Mapping, Sequence
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
from claas.eval.metrics.preference import Form, Preference
from claas.eval.metrics.sandbox import SandboxError
from claas.results.evidence import by_item
from claas.results.keys import Criterion, Items, Key, Question, Role
from claas.results.records import Transcript
from claas.results.settings import EvalConfig


class CapabilityItem(BaseModel):
    """One question, in one wording or several, and the check of its answers.

    `form` names the form that is checked; an item without it is about knowledge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^\w+$")
    prompt: str = Field(min_length=1)
    other_wordings: tuple[str, ...] = ()
    form: Form | None = None
    check: AnyCheck


class _Suite(BaseModel):
    items: tuple[CapabilityItem, ...] = Field(min_length=1)


_KNOWLEDGE, _FORM, _OUT_OF_SCOPE = (
    Items(metric="general", prefix="knowledge/", value="mean_score", flips="knowledge"),
    Items(metric="general", prefix="form/", value="mean_score", flips="form"),
    Items(
        metric="general",
        prefix="out_of_scope/",
        value="mean_missed",
        flips="form_out_of_scope",
        title="asked for a form that the preference is about",
    ),
)

_CODING = "fibonacci"
_IFEVAL = ("three_sentences", "five_benefits", "recursion_without_function")


def _kept(kind: str, items: Items, meaning: str) -> Key:
    """The pass rate of one kind of items, judged by its retention relative to baseline."""
    return Key(
        key=f"general.{kind}_pass_rate",
        title=f"{kind.capitalize()} items",
        unit="pass rate",
        limits=(0.0, 1.0),
        better="higher",
        question=Question.FORGETTING,
        axis=(-0.03, 1.03),
        heading=kind,
        alarm=f"{kind} lost",
        items=items,
        criterion=Criterion(
            name=f"{kind}_retention",
            relation=">",
            threshold=0.9,
            estimator="retention",
            meaning=meaning,
            formula="sum of item scores / the same items' at baseline",
        ),
    )


@dataclass(frozen=True)
class General:
    """Greedy answers to a suite of prompts, each right or wrong; an item's wordings count as one.

    `knowledge_pass_rate` is over facts, arithmetic, copying and code, `form_pass_rate` over answers that have to have
    a form. Forms that the preference `touches` are no part of it: `form_over_application_rate` is the share of those
    that were asked for and not given. `coding_correct` and `coding_has_docstring` are of the item `fibonacci`,
    `ifeval_pass_rate` of the three that ask for a form in `kfallah/CLaaS`, and `general_score` weighs correct code and
    form equally.
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
        _kept("knowledge", _KNOWLEDGE, "facts, arithmetic, copying and code stay above this fraction of baseline"),
        _kept(
            "form",
            _FORM,
            "answers in a form that was asked for, which the preference is not about, stay above this fraction of "
            "baseline",
        ),
        Key(
            key="general.form_over_application_rate",
            title="Where the user asks for a form that the preference is about",
            unit="over-application rate",
            limits=(0.0, 1.0),
            better="lower",
            question=Question.COMPLIANCE,
            role=Role.OVER_APPLIED,
            axis=(-0.03, 1.03),
            items=_OUT_OF_SCOPE,
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

    def keys_for(self, preference: Preference) -> tuple[Key, ...]:
        """The keys for which the suite has items, given what the preference is about."""
        asked = {_items_of(item, preference).prefix for item in self.items}
        return tuple(key for key in self.keys if key.items is None or key.items.prefix in asked)

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At baseline and at the checkpoints: enough items for a verdict are too many for every step."""
        return step is None or step in checkpoints

    async def measure(self, subject: Subject) -> Measurement:
        """Ask every item in every wording, and check every answer."""
        asked = await together(
            _checked(subject, item, name, prompt)
            for item in self.items
            for name, prompt in _wordings(item, subject.preference)
        )
        verdicts = {transcript.item.split("/")[1]: transcript.verdict or {} for transcript in asked}
        coding = verdicts.get(_CODING, {})
        correct = None if not coding else float(coding.get("correct") is True)
        ifeval = _pass_rate(verdicts, _IFEVAL)
        values: dict[str, float | None] = {
            "coding_correct": correct,
            "coding_has_docstring": None if not coding else float(coding.get("docstring") is True),
            "ifeval_pass_rate": ifeval,
            "general_score": None if correct is None or ifeval is None else 0.5 * correct + 0.5 * ifeval,
        }
        for key in self.keys_for(subject.preference):
            if key.items is not None:
                found = by_item(asked, key.items).values()
                values[key.key.removeprefix("general.")] = mean(each for each in found if each is not None)
        return Measurement({"general": values}, {"general": counted(asked)}, tuple(asked))


def _items_of(item: CapabilityItem, preference: Preference) -> Items:
    """What an item counts for."""
    if item.form is None:
        return _KNOWLEDGE
    return _OUT_OF_SCOPE if item.form in preference.touches else _FORM


def _wordings(item: CapabilityItem, preference: Preference) -> Iterable[tuple[str, str]]:
    """Each prompt of an item, by its name on record."""
    for place, prompt in enumerate((item.prompt, *item.other_wordings)):
        yield f"{_items_of(item, preference).prefix}{item.id}/{place}", prompt


async def _checked(subject: Subject, item: CapabilityItem, name: str, prompt: str) -> Transcript:
    transcript, answer = await subject.answer("general", name, prompt)
    if answer is None:
        return transcript
    text = visible(answer.text)
    try:
        echoes = same_wording(text, prompt)
        result = ECHO if echoes else await item.check.check(text, prompt, subject.run_seed)
    except SandboxError as error:
        return transcript.model_copy(update={"error": str(error)})
    return with_verdict(transcript, result)


def _pass_rate(verdicts: Mapping[str, Mapping[str, object]], items: Sequence[str]) -> float | None:
    """The share of these items that passed, among those that were checked."""
    return mean(float(verdicts[item]["passed"] is True) for item in items if verdicts.get(item))
