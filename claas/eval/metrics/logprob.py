"""The logprob margin: how much likelier the model finds answers with the preference than answers without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from claas.core.concurrency import together
from claas.eval.metrics.metric import Measurement, Subject, mean
from claas.eval.metrics.preference import Flipped, Preference
from claas.results.keys import Criterion, Items, Key, Question
from claas.results.records import Baseline, Counts, Transcript


@dataclass(frozen=True)
class LogprobMargin:
    """logp(positive) - logp(negative), summed over tokens, in nats; the mean over the preference's pairs.

    A pair with a lost side counts as errored and is left out of every mean. The delta compares the pairs scored now
    with the same pairs at baseline. `margin_per_token` divides each side by its length first, so that a preference
    about length cannot show as a margin by length alone.
    """

    keys: ClassVar[tuple[Key, ...]] = (
        Key(
            key="logprob_margin.margin_delta_from_baseline",
            title="Margin gain",
            unit="gain from baseline, nats",
            better="higher",
            question=Question.MARGINS,
            at_baseline=0.0,
            heading="margin Δ",
            form="+.1f",
        ),
        Key(
            key="logprob_margin.margin_per_token",
            title="Margin per token",
            unit="margin, nats per token",
            better="higher",
            question=Question.MARGINS,
        ),
        Key(
            key="logprob_margin.margin",
            title="Margin of the wanted answer over the unwanted one",
            unit="nats",
            better="higher",
            question=Question.MARGINS,
            items=Items(metric="logprob_margin", value="margin", cluster="pairs"),
            criterion=Criterion(
                name="margin_gain",
                relation=">",
                threshold=2.0,
                estimator="gain",
                meaning="the logprob margin gains more than this, in nats",
                formula="mean over pairs of (margin - margin at baseline), nats",
                drawn_on="logprob_margin.margin_delta_from_baseline",
            ),
        ),
        Key(key="logprob_margin.positive_logprob", title="Log probability of the wanted answers", unit="nats"),
        Key(key="logprob_margin.negative_logprob", title="Log probability of the unwanted answers", unit="nats"),
    )

    def keys_for(self, preference: Preference) -> tuple[Key, ...]:
        """Where the user changes their mind, the margin is to fall again, and is not judged."""
        unjudged = isinstance(preference, Flipped)
        return tuple(key.model_copy(update={"criterion": None}) if unjudged else key for key in self.keys)

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At every step."""
        return True

    async def measure(self, subject: Subject) -> Measurement:
        """Score both sides of every pair."""
        pairs = subject.preference.logprob_pairs
        sides = [
            (f"pair/{i}/{side}", pair.prompt_messages, text)
            for i, pair in enumerate(pairs)
            for side, text in (("positive", pair.positive_response), ("negative", pair.negative_response))
        ]
        asked = await together(subject.score("logprob_margin", *side) for side in sides)
        transcripts = tuple(transcript for transcript, _ in asked)
        scored = _scored_pairs(transcripts)
        values: dict[str, float | None] = {
            "positive_logprob": mean(sum(positive) for positive, _ in scored.values()),
            "negative_logprob": mean(sum(negative) for _, negative in scored.values()),
            "margin": mean(_margin(pair) for pair in scored.values()),
            "margin_delta_from_baseline": _delta(scored, subject.baseline),
            "margin_per_token": mean(sum(p) / len(p) - sum(n) / len(n) for p, n in scored.values()),
        }
        counts = Counts(planned=len(pairs), scored=len(scored), errored=len(pairs) - len(scored))
        return Measurement({"logprob_margin": values}, {"logprob_margin": counts}, transcripts)


Sides = tuple[Sequence[float], Sequence[float]]
"""Logprobs of the positive and of the negative side of a pair: (P,) and (N,), nats."""


def _scored_pairs(transcripts: Sequence[Transcript]) -> Mapping[str, Sides]:
    """The pairs of which both sides were scored, by `pair/<i>`."""
    found = {item.item: item.logprobs for item in transcripts if item.metric == "logprob_margin" and item.logprobs}
    pairs = {item.rpartition("/")[0]: None for item in found}
    return {
        pair: (positive, negative)
        for pair in pairs
        if (positive := found.get(f"{pair}/positive")) and (negative := found.get(f"{pair}/negative"))
    }


def _delta(scored: Mapping[str, Sides], baseline: Baseline | None) -> float | None:
    """How far the margin moved, over the pairs scored both times; at baseline it is its own reference."""
    before = scored if baseline is None else _scored_pairs(baseline.rollouts)
    return mean(_margin(pair) - _margin(before[item]) for item, pair in scored.items() if item in before)


def _margin(pair: Sides) -> float:
    positive, negative = pair
    return sum(positive) - sum(negative)
