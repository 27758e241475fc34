"""Compliance with the preference, and over-application where the opposite was asked for."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.text import says_back, visible
from claas.eval.metrics.metric import Measurement, Subject, counted, difference, mean
from claas.eval.metrics.preference import (
    Flipped,
    Mixture,
    NonAnswer,
    Preference,
    Probe,
    Verifier,
    VerifierResult,
)
from claas.results.keys import Criterion, Items, Key, Question, Role
from claas.results.records import Transcript

_TRAINED_ON = "on prompts that were trained on; no held-out prompts given"


_OPPOSITE = Key(
    key="opposite_compliance",
    title="Opposite, on the same answers",
    unit="mean verifier score",
    limits=(0.0, 1.0),
    better="higher",
    question=Question.COMPLIANCE,
    role=Role.LEARNED,
    axis=(-0.03, 1.03),
    heading="opposite",
    items=Items(metric="compliance", prefix="heldout/", value="verdict.opposite", cluster="prompts"),
    criterion=Criterion(
        name="opposite_compliance",
        relation=">=",
        threshold=0.8,
        estimator="mean",
        meaning="where the user changes their mind: compliance with the opposite is at least this",
        formula="mean score of the opposite's verifier over the held-out prompts",
        title="compliance with the opposite",
    ),
)


@dataclass(frozen=True)
class Compliance:
    """Mean verifier score, in [0, 1], over greedy answers; the generalisation gap is probe minus held-out.

    Without held-out prompts only the probe prompts are answered, and `probe_compliance` is judged. That shows less:
    memorised answers pass, too.
    """

    keys: ClassVar[tuple[Key, ...]] = (
        Key(
            key="heldout_compliance",
            title="Held-out prompts",
            unit="mean verifier score",
            limits=(0.0, 1.0),
            better="higher",
            question=Question.COMPLIANCE,
            role=Role.LEARNED,
            axis=(-0.03, 1.03),
            heading="held-out",
            items=Items(metric="compliance", prefix="heldout/", cluster="prompts", flips="heldout", title="held-out"),
            criterion=Criterion(
                name="heldout_compliance",
                relation=">=",
                threshold=0.8,
                estimator="share",
                meaning="held-out compliance is at least this",
                formula="mean verifier score over the held-out prompts",
                title="held-out compliance",
            ),
        ),
        Key(
            key="preference_compliance",
            title="Probe prompts",
            unit="mean verifier score",
            limits=(0.0, 1.0),
            better="higher",
            question=Question.COMPLIANCE,
            role=Role.TRAINED_ON,
            axis=(-0.03, 1.03),
            heading="probe",
            line="heldout_compliance",
            items=Items(metric="compliance", prefix="probe/", cluster="prompts", flips="probe"),
            criterion=Criterion(
                name="probe_compliance",
                relation=">=",
                threshold=0.8,
                estimator="share",
                meaning="where no held-out prompts are given: compliance on the probe prompts is at least this",
                formula=f"mean verifier score {_TRAINED_ON}",
                title=f"compliance {_TRAINED_ON}",
                note=f"judged {_TRAINED_ON}",
            ),
        ),
        Key(key="generalisation_gap", title="Probe compliance less held-out compliance", limits=(-1.0, 1.0)),
    )

    def keys_for(self, preference: Preference) -> tuple[Key, ...]:
        """The probe prompts are judged only where no held-out ones are given.

        Where the user changes their mind, it is compliance with the opposite that is judged.
        """
        heldout, probe, gap = self.keys
        if preference.heldout_prompts:
            keys = (heldout, probe.model_copy(update={"criterion": None}), gap)
        else:
            named = {"title": f"Probe prompts: {_TRAINED_ON}", "heading": "trained on", "line": None}
            keys = (probe.model_copy(update=named),)
        if isinstance(preference, Flipped):
            first = keys[0].model_copy(update={"criterion": None, "role": Role.FIRST_WISH})
            others = (key.model_copy(update={"role": None}) for key in keys[1:])
            return (first, *others, _opposite(preference))
        parts = preference.parts if isinstance(preference, Mixture) else ()
        return (*keys, *(key_of_part(part.name, f"heldout/{part.name}/") for part in parts))

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At every step."""
        return True

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every prompt and verify every answer."""
        wanted = subject.preference
        probe, heldout = wanted.probes(), wanted.held_out()
        asked = await together(judged(subject, "compliance", each) for each in probe + heldout)
        on_probe, on_heldout = asked[: len(probe)], asked[len(probe) :]
        compliance, heldout_compliance = mean_score(on_probe), mean_score(on_heldout)
        values, counts = {"preference_compliance": compliance}, {"compliance": counted(on_probe)}
        if heldout:
            values["heldout_compliance"] = heldout_compliance
            values["generalisation_gap"] = difference(compliance, heldout_compliance)
            counts["heldout"] = counted(on_heldout)
        if isinstance(wanted, Flipped):
            values["opposite_compliance"] = mean_score(on_heldout or on_probe, "opposite")
        parts = {} if not isinstance(wanted, Mixture) else _by_part(wanted, on_heldout)
        return Measurement({**values, **parts}, counts, tuple(asked))


def _opposite(preference: Preference) -> Key:
    if preference.heldout_prompts:
        return _OPPOSITE
    return _OPPOSITE.model_copy(
        update={"items": _OPPOSITE.items and _OPPOSITE.items.model_copy(update={"prefix": "probe/"})}
    )


def name_in_key(preference: str) -> str:
    """A preference's name as part of a key, in which dots are separators."""
    return preference.replace(".", "_")


def key_of_part(preference: str, prefix: str, metric: str = "compliance") -> Key:
    """The held-out compliance with one of several preferences, from the items of this prefix."""
    return Key(
        key=f"across.{name_in_key(preference)}",
        title=f"Held-out prompts of {preference}",
        unit="mean verifier score",
        limits=(0.0, 1.0),
        better="higher",
        question=Question.COMPLIANCE,
        axis=(-0.03, 1.03),
        items=Items(metric=metric, prefix=prefix, cluster="prompts"),
    )


def _by_part(mixture: Mixture, heldout: Sequence[Transcript]) -> dict[str, dict[str, float | None]]:
    parts = [part.name for part in mixture.parts if part.heldout_prompts]
    scores = {name: [each for each in heldout if each.item.startswith(f"heldout/{name}/")] for name in parts}
    return {"across": {name_in_key(name): mean_score(answers) for name, answers in scores.items()}}


@dataclass(frozen=True)
class Scope:
    """`over_application_rate`: 1 - the mean score of the out-of-scope verifier over greedy answers, in [0, 1].

    It is the share of users who asked for the opposite of the preference and did not get it. An untrained model may
    fail some of them, too, so training is to blame only for the rise above baseline. Nothing is measured for a
    preference without out-of-scope prompts.
    """

    keys: ClassVar[tuple[Key, ...]] = (
        Key(
            key="over_application_rate",
            title="Where the user asks for the opposite",
            unit="over-application rate",
            limits=(0.0, 1.0),
            better="lower",
            question=Question.COMPLIANCE,
            role=Role.OVER_APPLIED,
            axis=(-0.03, 1.03),
            items=Items(
                metric="scope",
                value="missed",
                cluster="prompts",
                flips="out_of_scope",
                title="asked for the opposite",
            ),
        ),
    )

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At baseline and at the checkpoints: its long answers make this the most expensive side effect to measure."""
        return step is None or step in checkpoints

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every out-of-scope prompt and verify every answer."""
        asked = subject.preference.beyond_scope()
        if not asked:
            return Measurement(values={}, counts={})
        answers = await together(judged(subject, "scope", each) for each in asked)
        return Measurement(
            values={"over_application_rate": difference(1.0, mean_score(answers))},
            counts={"scope": counted(answers)},
            rollouts=tuple(answers),
        )


async def judged(
    subject: Subject,
    metric: str,
    asked: Probe,
    item: str | None = None,
    earlier: Sequence[Mapping[str, str]] = (),
) -> Transcript:
    """A greedy answer to the prompt with its verdict, which a lost one lacks. `item` is its name in the record."""
    transcript, answer = await subject.answer(metric, item or asked.item, asked.prompt, earlier=earlier)
    if answer is None:
        return transcript
    result = judge(asked.verifier, asked.prompt, answer.text, asked.acceptable)
    if asked.opposite is not None:
        opposite = judge(asked.opposite, asked.prompt, answer.text, asked.acceptable)
        result = replace(result, metadata={**result.metadata, "opposite": opposite.score})
    return with_verdict(transcript, result)


ECHO = VerifierResult(0.0, False, {"echo": True})
"""The result for an answer that only repeats its prompt, whatever the verifier."""


def judge(verifier: Verifier, prompt: str, response: str, acceptable: Collection[NonAnswer] = ()) -> VerifierResult:
    """The verifier's result on the visible text.

    An answer that only repeats the prompt scores 0, unless an echo is `acceptable`.
    """
    text = visible(response)
    if NonAnswer.ECHO not in acceptable and says_back(text, prompt):
        return ECHO
    result = cast(object, verifier(text))  # a user's own verifier may return anything
    if not isinstance(result, VerifierResult) or not 0.0 <= result.score <= 1.0:
        name = type(verifier).__name__
        raise InvalidInput(f"{name} must return a VerifierResult with a score from 0 to 1, got {result!r}")
    return result


def with_verdict(transcript: Transcript, result: VerifierResult) -> Transcript:
    """The transcript with the verifier's result."""
    metadata = {key: _stored(value) for key, value in result.metadata.items()}
    return transcript.model_copy(update={"verdict": metadata | {"score": result.score, "passed": result.passed}})


def _stored(value: object) -> float | str | bool:
    if isinstance(value, bool | str):
        return value
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else str(value)


def mean_score(transcripts: Iterable[Transcript], part: str = "score") -> float | None:
    """The mean over the answers that have a verdict, in [0, 1]; None without any."""
    return mean(float(transcript.verdict[part] or 0.0) for transcript in transcripts if transcript.verdict is not None)
