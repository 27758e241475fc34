"""Whether the preference is kept to its place: what happens to users who ask for the opposite of it."""

from dataclasses import dataclass

from claas.core.concurrency import together
from claas.eval.metric import Measurement, Subject
from claas.eval.metrics.judging import judged, mean_score
from claas.eval.metrics.tally import counted, difference


@dataclass(frozen=True)
class Scope:
    """`over_application_rate`: 1 - the mean score of the out-of-scope verifier over greedy answers, in [0, 1].

    It is the share of users who asked for the opposite of the preference and did not get it. An untrained model may
    fail some of them, too, so it is the rise above baseline that the preference is to blame for. Nothing is measured
    for a preference without out-of-scope prompts.
    """

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
