"""Whether answers show the preference: on the prompts that feedback is given on, and on prompts never trained on."""

from dataclasses import dataclass

from claas.core.concurrency import together
from claas.eval.metric import Measurement, Subject
from claas.eval.metrics.judging import judged, mean_score
from claas.eval.metrics.tally import counted, difference


@dataclass(frozen=True)
class Compliance:
    """Mean verifier score, in [0, 1], over greedy answers; the generalisation gap is probe minus held-out."""

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
        return Measurement(
            values={
                "preference_compliance": compliance,
                "heldout_compliance": heldout_compliance,
                "generalisation_gap": difference(compliance, heldout_compliance),
            },
            counts={"compliance": counted(on_probe), "heldout": counted(on_heldout)},
            rollouts=tuple(asked),
        )
