"""What the base model does that has the feedback in its prompt: the competitor that every user has for free."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from claas.core.concurrency import together
from claas.eval.metrics.compliance import judged, mean_score
from claas.eval.metrics.metric import Measurement, Subject, counted
from claas.eval.metrics.preference import Mixture, Preference
from claas.results.effects import IN_CONTEXT
from claas.results.keys import Items, Key, Question


@dataclass(frozen=True)
class InContext:
    """`in_context.heldout_compliance`: what the base model does that has the feedback in its prompt.

    The feedback stands before each held-out prompt, an empty line between them, and nothing is trained. At baseline.
    """

    keys = (
        Key(
            key="in_context.heldout_compliance",
            title="Held-out prompts, feedback in the prompt",
            unit="mean verifier score",
            limits=(0.0, 1.0),
            better="higher",
            question=Question.OTHER,
            axis=(-0.03, 1.03),
            items=Items(metric=IN_CONTEXT, prefix="heldout/", cluster="prompts"),
        ),
    )

    def due(self, step: int | None, collapse_steps: frozenset[int]) -> bool:
        """At baseline: what is trained later has nothing to do with it."""
        return step is None

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every held-out prompt after the feedback."""
        asked = [
            replace(probe, prompt=f"{part.feedback_string}\n\n{probe.prompt}", item=name)
            for part in parts_of(subject.preference)
            for probe in part.held_out()
            for name in [_item(subject.preference, part, probe.item)]
        ]
        answers = await together(judged(subject, IN_CONTEXT, each) for each in asked)
        return Measurement(
            {IN_CONTEXT: {"heldout_compliance": mean_score(answers)}}, {IN_CONTEXT: counted(answers)}, tuple(answers)
        )


def parts_of(preference: Preference) -> Sequence[Preference]:
    """The preferences that a mixture is made of, or the one."""
    return preference.parts if isinstance(preference, Mixture) else [preference]


def _item(whole: Preference, part: Preference, item: str) -> str:
    return item if whole is part else item.replace("heldout/", f"heldout/{part.name}/", 1)
