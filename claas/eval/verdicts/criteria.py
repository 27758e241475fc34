"""The criteria of a verdict, and what each is estimated from: the one place that names metric keys."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from claas.eval.records import Transcript
from claas.eval.verdicts.evidence import ByItem, entropies, margins, mean_logprobs, paired, scores, self_similarities
from claas.eval.verdicts.statistics import (
    Interval,
    mean_interval,
    needed_for_mean,
    needed_for_retention,
    needed_for_wilson,
    ratio_interval,
    retention_interval,
    wilson,
)

CAPABILITY_KEY = "general.capability_pass_rate"

Rollouts = Sequence[Transcript]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval from n clusters; `needed` of them would conclude if they came out alike."""

    value: float | None
    interval: Interval | None
    n: int
    needed: int | None
    note: str | None = None


@dataclass(frozen=True)
class Criterion:
    """One threshold of `claas.eval.types.Criteria`, due when `key` is measured.

    `relation` (">=", ">" or "<") holds between the value and the threshold when all is well. `estimate` takes the
    transcripts after training, those at baseline, the threshold and the confidence.
    """

    name: str
    key: str
    relation: str
    formula: str
    estimate: Callable[[Rollouts, Rollouts, float, float], Estimate]


def capability_scores(rollouts: Iterable[Transcript]) -> ByItem:
    """The score of every capability item."""
    return scores(rollouts, "general")


def _heldout_compliance(after: Rollouts, _: Rollouts, threshold: float, confidence: float) -> Estimate:
    found = scores(after, "compliance", "heldout/")
    known = _known(found)
    lost = len(found) - len(known)
    if not known:
        return _nothing(found)
    value = sum(known) / len(known)
    return Estimate(
        value,
        Interval(
            wilson(sum(known), len(found), confidence).low, wilson(sum(known) + lost, len(found), confidence).high
        ),
        len(known),
        needed_for_wilson(value, threshold, confidence),
        _any_score(lost, len(found)),
    )


def _margin_gain(after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    return _mean_change(margins(after), margins(before), threshold, confidence)


def _capability_retention(after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    was = {item: score for item, score in capability_scores(before).items() if score is not None}
    now = {item: capability_scores(after).get(item) for item in was}
    known, known_was, lost = paired(now, was)
    if not known:
        return _nothing(now)
    if not sum(known_was):
        return Estimate(None, None, len(known), None, "no item passed at baseline: there is nothing to retain")
    worst, best = ([filler if score is None else score for score in now.values()] for filler in (0.0, 1.0))
    low = retention_interval(worst, list(was.values()), confidence)
    high = retention_interval(best, list(was.values()), confidence)
    return Estimate(
        sum(known) / sum(known_was),
        Interval(low.low, high.high) if low and high else None,
        len(known),
        needed_for_retention(known, known_was, threshold, confidence),
        _any_score(lost, len(was)),
    )


def _entropy_ratio(after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    now, was, lost = paired(entropies(after), entropies(before))
    if not now:
        return _nothing(entropies(after))
    if not sum(was):
        return Estimate(None, None, len(now), None, "the entropy was 0 at baseline: there is no ratio to it")
    excess = [new - threshold * old for new, old in zip(now, was, strict=True)]
    return Estimate(
        sum(now) / sum(was),
        _within(ratio_interval(now, was, confidence), 0.0),
        len(now),
        needed_for_mean(excess, 0.0, confidence),
        _left_out(lost),
    )


def _self_rouge_l(after: Rollouts, _: Rollouts, threshold: float, confidence: float) -> Estimate:
    found = self_similarities(after)
    known = _known(found)
    if not known:
        return _nothing(found)
    return Estimate(
        sum(known) / len(known),
        _within(mean_interval(known, confidence), 0.0, 1.0),
        len(known),
        needed_for_mean(known, threshold, confidence),
        _left_out(len(found) - len(known)),
    )


def _mean_logprob_drift(after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    now, was = mean_logprobs(after), mean_logprobs(before)
    up = _mean_change(now, was, threshold, confidence)
    if up.value is None:
        return up
    nearer = up if up.value >= 0 else _mean_change(was, now, threshold, confidence)
    low, high = (nearer.interval.low, nearer.interval.high) if nearer.interval else (0.0, 0.0)
    folded = Interval(max(0.0, low, -high), max(-low, high)) if nearer.interval else None
    return Estimate(nearer.value, folded, nearer.n, nearer.needed, nearer.note)


def _mean_change(after: ByItem, before: ByItem, threshold: float, confidence: float) -> Estimate:
    now, was, lost = paired(after, before)
    changes = [new - old for new, old in zip(now, was, strict=True)]
    if not changes:
        return _nothing(after)
    return Estimate(
        sum(changes) / len(changes),
        mean_interval(changes, confidence),
        len(changes),
        needed_for_mean(changes, threshold, confidence),
        _left_out(lost),
    )


def _known(found: ByItem) -> list[float]:
    return [value for value in found.values() if value is not None]


def _within(interval: Interval | None, low: float, high: float = float("inf")) -> Interval | None:
    return interval and Interval(min(max(interval.low, low), high), max(min(interval.high, high), low))


def _nothing(found: ByItem) -> Estimate:
    return Estimate(None, None, 0, None, f"due, and not measured: all {len(found)} were lost")


def _any_score(lost: int, planned: int) -> str | None:
    return f"{lost} of {planned} lost; the interval leaves them any score" if lost else None


def _left_out(lost: int) -> str | None:
    return f"{lost} lost and left out" if lost else None


CRITERIA = (
    Criterion(
        "heldout_compliance",
        "heldout_compliance",
        ">=",
        "mean verifier score over the held-out prompts; Wilson interval",
        _heldout_compliance,
    ),
    Criterion(
        "margin_gain",
        "logprob_margin.margin",
        ">",
        "mean over pairs of (margin - margin at baseline), nats; over pairs, paired t (bootstrap from 10)",
        _margin_gain,
    ),
    Criterion(
        "capability_retention",
        CAPABILITY_KEY,
        ">",
        "sum of item scores / the same items' at baseline; paired score interval (Tang et al. 2003)",
        _capability_retention,
    ),
    Criterion(
        "entropy_ratio",
        "collapse.mean_entropy",
        ">",
        "mean entropy / mean entropy at baseline; over prompts, paired t (bootstrap from 10)",
        _entropy_ratio,
    ),
    Criterion(
        "self_rouge_l",
        "collapse.self_rouge_l",
        "<",
        "mean ROUGE-L F1 between a prompt's samples; over prompts, t (bootstrap from 10)",
        _self_rouge_l,
    ),
    Criterion(
        "mean_logprob_drift",
        "collapse.mean_logprob",
        "<",
        "|mean logprob - mean logprob at baseline|, nats per token; over prompts, paired t (bootstrap from 10)",
        _mean_logprob_drift,
    ),
)
