"""Whether answers show the preference: on the prompts that feedback is given on, and on prompts never trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

from claas.core.concurrency import together
from claas.eval.metric import Measurement, Subject
from claas.eval.metrics.judging import judge, with_verdict
from claas.eval.metrics.tally import counted, difference, mean
from claas.eval.records import Transcript


@dataclass(frozen=True)
class Compliance:
    """Mean verifier score, in [0, 1], over greedy answers; the generalisation gap is probe minus held-out."""

    def due(self, step: int | None, collapse_steps: frozenset[int]) -> bool:
        """At every step."""
        return True

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every prompt and verify every answer."""
        probe = [(f"probe/{i}", prompt) for i, prompt in enumerate(subject.preference.probe_prompts)]
        heldout = [(f"heldout/{i}", prompt) for i, prompt in enumerate(subject.preference.heldout_prompts)]
        asked = await together(_verified(subject, item, prompt) for item, prompt in probe + heldout)
        on_probe, on_heldout = asked[: len(probe)], asked[len(probe) :]
        compliance, heldout_compliance = _mean_score(on_probe), _mean_score(on_heldout)
        return Measurement(
            values={
                "preference_compliance": compliance,
                "heldout_compliance": heldout_compliance,
                "generalisation_gap": difference(compliance, heldout_compliance),
            },
            counts={"compliance": counted(on_probe), "heldout": counted(on_heldout)},
            rollouts=tuple(asked),
        )


async def _verified(subject: Subject, item: str, prompt: str) -> Transcript:
    transcript, answer = await subject.answer("compliance", item, prompt)
    if answer is None:
        return transcript
    return with_verdict(transcript, judge(subject.preference.verifier, prompt, answer.text))


def _mean_score(transcripts: Sequence[Transcript]) -> float | None:
    return mean(float(found.verdict["score"] or 0.0) for found in transcripts if found.verdict is not None)
