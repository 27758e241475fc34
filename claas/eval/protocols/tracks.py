"""A track: rounds of feedback on one adapter, as data. Every protocol is a function that gives tracks."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from claas.eval.metrics.metric import Metric, ending_at, seed_for
from claas.eval.metrics.preference import Flipped, NonAnswer, Preference, Verifier
from claas.results.manifest import PlannedTrack
from claas.results.settings import FEEDBACK, PARAPHRASE, EvalConfig, spread

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One answer of a round: what is asked, what the user says of the answer (None: nothing), and how one tells whether
    it is as they want it.

    It is trained as the answer to `answers`, None standing for what was asked.
    """

    prompt: str
    feedback: str | None
    wanted: Verifier
    acceptable: Collection[NonAnswer] = ()
    answers: str | None = None


Round = tuple[Item, ...]
"""What one update is made of."""


@dataclass(frozen=True)
class Track:
    """Rounds of feedback, and the preference by which every version that comes of them is measured.

    `name` is that of its folder, and a part of its updates' keys; the preference's name is a part of every seed, so
    that tracks of one preference are asked the same with the same seeds. Tracks that name the same `adapter` train it
    one after another, in their order, and the baseline of each is version 0, before any of them. `metrics` are measured
    beside those of the run. `arm` is the rule by which the rounds are told. A control is there for its last version to
    be compared with that of the track `control_of`. With `samples_base` feedback is given on answers of version 0.
    `held` is how many rounds there are where its user falls silent before the last one.
    """

    name: str
    adapter: str
    preference: Preference
    rounds: tuple[Round, ...]
    metrics: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    arm: str = FEEDBACK
    control_of: str | None = None
    samples_base: bool = False
    held: int | None = None

    @property
    def num_steps(self) -> int:
        """How many rounds there are."""
        return len(self.rounds) if self.held is None else self.held

    def ending_after(self, rounds: int) -> "Track":
        """The track with so many rounds, so that what is measured at the end is measured after the last of these."""
        if rounds == len(self.rounds):
            return self
        metrics = {name: ending_at(metric, rounds - 1) for name, metric in self.metrics.items()}
        return replace(self, held=rounds, metrics=metrics)

    @property
    def flips_at(self) -> int | None:
        """After how many updates its user changes their mind; None where they do not."""
        return self.preference.flips_at if isinstance(self.preference, Flipped) else None

    def planned(self) -> PlannedTrack:
        """What a run's manifest says of it."""
        return PlannedTrack(
            name=self.name,
            adapter=self.adapter,
            preference=self.preference.name,
            num_steps=self.num_steps,
            flips_at=self.flips_at,
            arm=self.arm,
            control_of=self.control_of,
        )

    def metrics_at(self, step: int | None, metrics: Mapping[str, Metric], config: EvalConfig) -> Mapping[str, Metric]:
        """What may be due at a step, None being the baseline: of a control nothing but at its two ends.

        What the user changes their mind from is measured in any case.
        """
        metrics = {name: self.metrics.get(name, metric) for name, metric in metrics.items()}
        if step is None or step + 1 in (self.num_steps, self.flips_at):
            return metrics
        every = (step + 1) % config.measure_every == 0 or step in self.checkpoints(config)
        return metrics if every and self.control_of is None else {}

    def checkpoints(self, config: EvalConfig) -> frozenset[int]:
        """The run's, or, where it has another number of steps, as many spread over these, with the last among them.

        Where its user falls silent, the last round is one of them, too.
        """
        given, planned = config.checkpoints or [], len(self.rounds)
        if planned != config.num_steps:
            given = spread(planned, len(given)) if len(given) > 1 else [planned - 1]
        last = [] if self.held is None else [self.held - 1]
        return frozenset([*given, *last])


def rounds_of(preference: Preference, num_steps: int, config: EvalConfig) -> tuple[Round, ...]:
    """Rounds in which one feedback text is given on every answer to probe prompts of the preference."""
    return tuple(
        tuple(
            Item(
                prompt,
                feedback_text(step, preference, config.feedback_variation, config.seed),
                preference.verifier,
                preference.acceptable,
            )
            for prompt in prompts_of(step, config.batch_size, preference.probe_prompts, config.seed, preference.name)
        )
        for step in range(num_steps)
    )


def prompts_of(step: int, batch_size: int, probe_prompts: Sequence[str], run_seed: int, preference: str) -> list[str]:
    """The prompts of one step: every probe prompt once, in a seeded order, before any comes again in another order."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return [in_seeded_order(probe_prompts, place, run_seed, preference, "prompt order") for place in places]


def feedback_text(step: int, preference: Preference, variation: str, run_seed: int) -> str:
    """What the user says of every answer of one step: `feedback_string`, or, with `paraphrase`, that or a paraphrase.

    Like the prompts, each is used once, in a seeded order, before any comes again.
    """
    if variation != PARAPHRASE:
        return preference.feedback_string
    texts = (preference.feedback_string, *preference.feedback_paraphrases)
    return in_seeded_order(texts, step, run_seed, preference.name, "feedback text")


def in_seeded_order(items: Sequence[T], place: int, run_seed: int, preference: str, purpose: str) -> T:
    """The item at `place` of an endless row: all items once, shuffled, then all of them once more, and so on."""
    cycle, index = divmod(place, len(items))
    order = list(items)
    random.Random(seed_for(run_seed, preference, None, purpose, str(cycle))).shuffle(order)
    return order[index]
