"""The criteria of a verdict, and what each is estimated from: the one place that names metric keys."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from claas.results.evidence import (
    ByItem,
    alike,
    alike_in_entropy,
    entropies,
    margins,
    mean_logprobs,
    paired,
    scores,
    self_similarities,
)
from claas.results.records import Transcript
from claas.results.statistics import (
    Interval,
    mean_interval,
    mean_p,
    mean_p_at_most,
    needed_for_mean,
    needed_for_proportion,
    needed_for_retention,
    proportion_p,
    ratio_interval,
    ratio_p,
    retention_interval,
    retention_p,
    wilson,
)

CAPABILITY_KEY = "general.capability_pass_rate"

Rollouts = Sequence[Transcript]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval from n clusters, and the p-value of the criterion being met, small when it is not.

    `needed` clusters would conclude at a confidence with probability `statistics.POWER`, if the truth were as
    estimated. `interval` is None where these data cannot give one, and `p` where they cannot at any confidence.
    """

    value: float | None
    interval: Interval | None
    p: float | None
    n: int
    needed: Callable[[float], int | None] = lambda confidence: None
    note: str | None = None


@dataclass(frozen=True)
class Criterion:
    """One threshold of `claas.results.settings.Criteria`, due when `key` is measured.

    `relation` (">=", ">" or "<") holds between the value and the threshold when all is well. `estimate` takes the
    transcripts after training, those at baseline, the threshold and the confidence.
    """

    name: str
    key: str
    relation: str
    formula: str
    estimate: Callable[[Rollouts, Rollouts, float, float], Estimate]


@dataclass(frozen=True)
class Change:
    """A mean over items, pairs or prompts, all of them from `least` to `greatest`, and how far it moves.

    A `share` is one of items that pass, or score between 0 and 1. `alike` says whether the transcripts of two runs
    measured the same thing.
    """

    by_item: Callable[[Rollouts], ByItem]
    least: float = float("-inf")
    greatest: float = float("inf")
    share: bool = False
    alike: Callable[[Transcript, Transcript], bool] = alike

    def interval(self, after: Rollouts, before: Rollouts, confidence: float) -> Interval | None:
        """Of the mean change, over what was measured both times."""
        changes, _ = _changes(self.by_item(after), self.by_item(before))
        return self.of_differences(changes, confidence)

    def of_differences(self, differences: Sequence[float], confidence: float) -> Interval | None:
        """Of the mean of differences, one per item measured both times."""
        most = self.greatest - self.least
        return _within(mean_interval(differences, confidence), -most, most)

    def mean(self, found: ByItem, confidence: float) -> Estimate:
        """Of one measurement: Wilson's interval for a share, that of the mean for the rest."""
        known = _known(found)
        lost = len(found) - len(known)
        if not known:
            return _nothing(found)
        if self.share:
            interval = _wilson(sum(known), lost, len(found), confidence)
            return Estimate(fmean(known), interval, None, len(known), note=_any_score(lost, len(found)))
        interval = _within(mean_interval(known, confidence), self.least, self.greatest)
        return Estimate(fmean(known), interval, None, len(known), note=_left_out(lost))


def capability_scores(rollouts: Iterable[Transcript]) -> ByItem:
    """The score of every capability item."""
    return scores(rollouts, "general")


def _over_application(rollouts: Iterable[Transcript]) -> ByItem:
    """1 for every user who asked for the opposite of the preference and did not get it."""
    return {item: None if score is None else 1.0 - score for item, score in scores(rollouts, "scope").items()}


def _heldout_compliance(after: Rollouts, _: Rollouts, threshold: float, confidence: float) -> Estimate:
    found = scores(after, "compliance", "heldout/")
    known = _known(found)
    lost = len(found) - len(known)
    if not known:
        return _nothing(found)
    value = sum(known) / len(known)
    return Estimate(
        value,
        _wilson(sum(known), lost, len(found), confidence),
        proportion_p(sum(known) + lost, len(found), threshold),
        len(known),
        partial(needed_for_proportion, value, threshold),
        _any_score(lost, len(found)),
    )


def _margin_gain(after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    changes, lost = _changes(margins(after), margins(before))
    if not changes:
        return _nothing(margins(after))
    return Estimate(
        fmean(changes),
        mean_interval(changes, confidence),
        mean_p(changes, threshold),
        len(changes),
        partial(needed_for_mean, changes, threshold),
        _left_out(lost),
    )


def _capability_retention(after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    was = {item: score for item, score in capability_scores(before).items() if score is not None}
    found = capability_scores(after)
    now = {item: found.get(item) for item in was}
    known, known_was, lost = paired(now, was)
    if not known:
        return _nothing(now)
    if not sum(known_was):
        return Estimate(None, None, None, len(known), note="no item passed at baseline: there is nothing to retain")
    worst, best = ([filler if score is None else score for score in now.values()] for filler in (0.0, 1.0))
    low = retention_interval(worst, list(was.values()), confidence)
    high = retention_interval(best, list(was.values()), confidence)
    return Estimate(
        sum(known) / sum(known_was),
        Interval(low.low, high.high) if low and high else None,
        retention_p(best, list(was.values()), threshold),
        len(known),
        partial(needed_for_retention, known, known_was, threshold),
        _any_score(lost, len(was)),
    )


def _entropy_ratio(after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    now, was, lost = paired(entropies(after), entropies(before))
    if not now:
        return _nothing(entropies(after))
    if not sum(was):
        return Estimate(None, None, None, len(now), note="the entropy was 0 at baseline: there is no ratio to it")
    excess = [new - threshold * old for new, old in zip(now, was, strict=True)]
    return Estimate(
        sum(now) / sum(was),
        _within(ratio_interval(now, was, confidence), 0.0),
        ratio_p(now, was, threshold),
        len(now),
        partial(needed_for_mean, excess, 0.0),
        _left_out(lost),
    )


def _self_rouge_l(after: Rollouts, _: Rollouts, threshold: float, confidence: float) -> Estimate:
    found = self_similarities(after)
    known = _known(found)
    if not known:
        return _nothing(found)
    return Estimate(
        fmean(known),
        _within(mean_interval(known, confidence), 0.0, 1.0),
        mean_p_at_most(known, threshold),
        len(known),
        partial(needed_for_mean, known, threshold),
        _left_out(len(found) - len(known)),
    )


def _mean_logprob_drift(after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    changes, lost = _changes(mean_logprobs(after), mean_logprobs(before))
    if not changes:
        return _nothing(mean_logprobs(after))
    away = changes if fmean(changes) >= 0 else [-change for change in changes]
    found = mean_interval(away, confidence)
    return Estimate(
        fmean(away),
        found and Interval(max(0.0, found.low), max(-found.low, found.high)),
        mean_p_at_most(away, threshold),
        len(away),
        partial(needed_for_mean, away, threshold),
        _left_out(lost),
    )


def _changes(after: ByItem, before: ByItem) -> tuple[list[float], int]:
    """After less before of what was measured both times, and how many items were not."""
    now, was, lost = paired(after, before)
    return [new - old for new, old in zip(now, was, strict=True)], lost


def _known(found: ByItem) -> list[float]:
    return [value for value in found.values() if value is not None]


def _wilson(successes: float, lost: int, n: int, confidence: float) -> Interval:
    """Wilson's, whatever the lost ones would have scored."""
    return Interval(wilson(successes, n, confidence).low, wilson(successes + lost, n, confidence).high)


def _within(interval: Interval | None, low: float, high: float = float("inf")) -> Interval | None:
    return interval and Interval(min(max(interval.low, low), high), max(min(interval.high, high), low))


def _nothing(found: ByItem) -> Estimate:
    return Estimate(None, None, None, 0, note=f"due, and not measured: all {len(found)} were lost")


def _any_score(lost: int, planned: int) -> str | None:
    return f"{lost} of {planned} lost; the interval leaves them any score" if lost else None


def _left_out(lost: int) -> str | None:
    return f"{lost} lost and left out" if lost else None


CHANGES: Mapping[str, Change] = {
    "preference_compliance": Change(lambda rollouts: scores(rollouts, "compliance", "probe/"), 0.0, 1.0, share=True),
    "heldout_compliance": Change(lambda rollouts: scores(rollouts, "compliance", "heldout/"), 0.0, 1.0, share=True),
    "over_application_rate": Change(_over_application, 0.0, 1.0, share=True),
    CAPABILITY_KEY: Change(capability_scores, 0.0, 1.0, share=True),
    "logprob_margin.margin": Change(margins),
    "collapse.mean_entropy": Change(entropies, least=0.0, alike=alike_in_entropy),
    "collapse.self_rouge_l": Change(self_similarities, 0.0, 1.0),
    "collapse.mean_logprob": Change(mean_logprobs, greatest=0.0),
}
"""The keys that are means over prompts, items or pairs, each of which was measured before and after."""

_RESAMPLED = "interval and p: the wider of paired bootstrap-t (Hall 1988) and Student's t"

CRITERIA = (
    Criterion(
        "heldout_compliance",
        "heldout_compliance",
        ">=",
        "mean verifier score over the held-out prompts; Wilson interval; p: exact binomial (Clopper & Pearson 1934)",
        _heldout_compliance,
    ),
    Criterion(
        "margin_gain",
        "logprob_margin.margin",
        ">",
        f"mean over pairs of (margin - margin at baseline), nats; over pairs, {_RESAMPLED}",
        _margin_gain,
    ),
    Criterion(
        "capability_retention",
        CAPABILITY_KEY,
        ">",
        "sum of item scores / the same items' at baseline; interval and p: paired score test (Tang, Tang & Chan 2003)",
        _capability_retention,
    ),
    Criterion(
        "entropy_ratio",
        "collapse.mean_entropy",
        ">",
        f"mean entropy / mean entropy at baseline; over prompts, {_RESAMPLED}",
        _entropy_ratio,
    ),
    Criterion(
        "self_rouge_l",
        "collapse.self_rouge_l",
        "<",
        f"mean ROUGE-L F1 between a prompt's samples; over prompts, {_RESAMPLED}",
        _self_rouge_l,
    ),
    Criterion(
        "mean_logprob_drift",
        "collapse.mean_logprob",
        "<",
        f"|shift of the mean logprob of baseline's answers|, nats per token; over prompts, {_RESAMPLED}",
        _mean_logprob_drift,
    ),
)
