"""Compliance with the preference, and over-application where the opposite was asked for."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, cast

from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.text import says_back, visible
from claas.eval.metrics.metric import Measurement, Subject, counted, difference, mean
from claas.eval.metrics.preference import NonAnswer, Preference, Verifier, VerifierResult
from claas.results.keys import Criterion, Items, Key, Question, Role
from claas.results.records import Transcript

_TRAINED_ON = "on prompts that were trained on; no held-out prompts given"


@dataclass(frozen=True)
class Compliance:
    """Mean verifier score, in [0, 1], over greedy answers; the generalisation gap is probe minus held-out.

    Without held-out prompts only the probe prompts are answered, and `probe_compliance` is judged. That says less: an
    answer that was learnt by heart passes, too.
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
        """The probe prompts are judged only where no held-out ones are given."""
        heldout, probe, gap = self.keys
        if preference.heldout_prompts:
            return heldout, probe.model_copy(update={"criterion": None}), gap
        named = {"title": f"Probe prompts: {_TRAINED_ON}", "heading": "trained on", "line": None}
        return (probe.model_copy(update=named),)

    def due(self, step: int | None, collapse_steps: frozenset[int]) -> bool:
        """At every step."""
        return True

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every prompt and verify every answer."""
        wanted = subject.preference
        probe = [(f"probe/{i}", prompt) for i, prompt in enumerate(wanted.probe_prompts)]
        heldout = [(f"heldout/{i}", prompt) for i, prompt in enumerate(wanted.heldout_prompts)]
        asked = await together(
            judged(subject, "compliance", item, prompt, wanted.verifier, wanted.acceptable)
            for item, prompt in probe + heldout
        )
        on_probe, on_heldout = asked[: len(probe)], asked[len(probe) :]
        compliance, heldout_compliance = mean_score(on_probe), mean_score(on_heldout)
        values, counts = {"preference_compliance": compliance}, {"compliance": counted(on_probe)}
        if heldout:
            values["heldout_compliance"] = heldout_compliance
            values["generalisation_gap"] = difference(compliance, heldout_compliance)
            counts["heldout"] = counted(on_heldout)
        return Measurement({**values}, counts, tuple(asked))


@dataclass(frozen=True)
class Scope:
    """`over_application_rate`: 1 - the mean score of the out-of-scope verifier over greedy answers, in [0, 1].

    It is the share of users who asked for the opposite of the preference and did not get it. An untrained model may
    fail some of them, too, so it is the rise above baseline that the preference is to blame for. Nothing is measured
    for a preference without out-of-scope prompts.
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

    def due(self, step: int | None, collapse_steps: frozenset[int]) -> bool:
        """At baseline and where collapse is: a side effect, and with long answers the dearest one to measure."""
        return step is None or step in collapse_steps

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every out-of-scope prompt and verify every answer."""
        asked = subject.preference.out_of_scope
        if asked is None:
            return Measurement(values={}, counts={})
        answers = await together(
            judged(subject, "scope", f"out_of_scope/{i}", prompt, asked.verifier)
            for i, prompt in enumerate(asked.prompts)
        )
        return Measurement(
            values={"over_application_rate": difference(1.0, mean_score(answers))},
            counts={"scope": counted(answers)},
            rollouts=tuple(answers),
        )


async def judged(
    subject: Subject, metric: str, item: str, prompt: str, verifier: Verifier, acceptable: Collection[NonAnswer] = ()
) -> Transcript:
    """A greedy answer to the prompt, with the verdict on it; a lost one has none."""
    transcript, answer = await subject.answer(metric, item, prompt)
    return transcript if answer is None else with_verdict(transcript, judge(verifier, prompt, answer.text, acceptable))


ECHO = VerifierResult(0.0, False, {"echo": True})
"""The result of an answer that only repeats its prompt, whatever else is asked of it."""


def judge(verifier: Verifier, prompt: str, response: str, acceptable: Collection[NonAnswer] = ()) -> VerifierResult:
    """The verifier's result on the visible text.

    The prompt said back, once or several times over, answers nothing and scores 0, unless an echo is `acceptable`.
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
    """The transcript with what the verifier said of it."""
    metadata = {key: _stored(value) for key, value in result.metadata.items()}
    return transcript.model_copy(update={"verdict": metadata | {"score": result.score, "passed": result.passed}})


def _stored(value: object) -> float | str | bool:
    if isinstance(value, bool | str):
        return value
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else str(value)


def mean_score(transcripts: Iterable[Transcript]) -> float | None:
    """The mean over the answers that have a verdict, in [0, 1]; None without any."""
    return mean(
        float(transcript.verdict["score"] or 0.0) for transcript in transcripts if transcript.verdict is not None
    )
