"""What the base model does with the feedback, or all that was said so far, in its prompt: what users have for free."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from claas.core.concurrency import together
from claas.core.text import visible
from claas.eval.metrics.compliance import judged, mean_score
from claas.eval.metrics.metric import Measurement, Subject, counted
from claas.eval.metrics.preference import Mixture, Preference, Probe
from claas.results.keys import Items, Key, Question
from claas.results.settings import IN_CONTEXT, IN_CONTEXT_HISTORY


def _heldout(metric: str, title: str) -> Key:
    return Key(
        key=f"{metric}.heldout_compliance",
        title=title,
        unit="mean verifier score",
        limits=(0.0, 1.0),
        better="higher",
        question=Question.OTHER,
        axis=(-0.03, 1.03),
        items=Items(metric=metric, prefix="heldout/", cluster="prompts"),
    )


@dataclass(frozen=True)
class InContext:
    """`in_context.heldout_compliance`: what the base model does that has the feedback in its prompt.

    The feedback stands before each held-out prompt, an empty line between them, and nothing is trained. At baseline.
    """

    keys = (_heldout(IN_CONTEXT, "Held-out prompts, feedback in the prompt"),)

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At baseline: what is trained later has nothing to do with it."""
        return step is None

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every held-out prompt after the feedback."""
        asked = [
            replace(probe, prompt=f"{part.feedback_string}\n\n{probe.prompt}")
            for part, probe in _held_out(subject.preference)
        ]
        answers = await together(judged(subject, IN_CONTEXT, each) for each in asked)
        return Measurement(
            {IN_CONTEXT: {"heldout_compliance": mean_score(answers)}}, {IN_CONTEXT: counted(answers)}, tuple(answers)
        )


ACKNOWLEDGED = "Okay."
"""What the assistant says to feedback in a conversation."""


@dataclass(frozen=True)
class InContextHistory:
    """`in_context_history.heldout_compliance`: what the base model does after the conversations so far.

    Before each held-out prompt stand the interactions of all rounds: a prompt of the run, the base model's answer, the
    feedback that the user gives, and an acknowledgement. The newest are kept, as many as fit into the model's window
    with room for an answer: `interactions` says how many. At baseline. `past` are prompts and the feedback on them.
    """

    past: tuple[tuple[str, str], ...]
    temperature: float

    keys = (
        _heldout(IN_CONTEXT_HISTORY, "Held-out prompts, after the conversations so far"),
        Key(key=f"{IN_CONTEXT_HISTORY}.interactions", title="Interactions before each prompt", limits=(0.0, None)),
    )

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At baseline: the base model answers."""
        return step is None

    async def measure(self, subject: Subject) -> Measurement:
        """Have the past happen, and answer every held-out prompt after what fits of it; what was lost is left out."""
        happened = await together(
            subject.answer(IN_CONTEXT_HISTORY, f"past/{place}", prompt, temperature=self.temperature)
            for place, (prompt, _) in enumerate(self.past)
        )
        exchanges = [
            _exchange(asked.prompt, visible(answer.text), feedback)
            for (asked, answer), (_, feedback) in zip(happened, self.past, strict=True)
            if answer is not None
        ]
        asked = [probe for _, probe in _held_out(subject.preference)]
        kept = await subject.newest_that_fit(IN_CONTEXT_HISTORY, exchanges, [probe.prompt for probe in asked])
        earlier = [turn for exchange in exchanges[len(exchanges) - kept :] for turn in exchange]
        answers = await together(judged(subject, IN_CONTEXT_HISTORY, each, earlier=earlier) for each in asked)
        rollouts = (*(transcript for transcript, _ in happened), *answers)
        return Measurement(
            {IN_CONTEXT_HISTORY: {"heldout_compliance": mean_score(answers), "interactions": float(kept)}},
            {IN_CONTEXT_HISTORY: counted(rollouts)},
            rollouts,
        )


def _exchange(prompt: str, answer: str, feedback: str) -> list[dict[str, str]]:
    said = (("user", prompt), ("assistant", answer), ("user", feedback), ("assistant", ACKNOWLEDGED))
    return [{"role": role, "content": content} for role, content in said]


def parts_of(preference: Preference) -> Sequence[Preference]:
    """The preferences that a mixture is made of, or the one."""
    return preference.parts if isinstance(preference, Mixture) else [preference]


def _held_out(whole: Preference) -> list[tuple[Preference, Probe]]:
    """The held-out prompts of each part of a preference, named as those of the whole are."""
    return [
        (part, probe if whole is part else replace(probe, item=f"heldout/{part.name}/{probe.item.partition('/')[2]}"))
        for part in parts_of(whole)
        for probe in part.held_out()
    ]
