"""How a criterion is estimated: each of a few estimators, from the items of a measurement and of the baseline.

Which number is judged, by which of them and against which threshold is declared by the metric that measures it
(`claas.results.keys`)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from claas.core.checks import in_range
from claas.results.decision import PairedScores, paired_test
from claas.results.evidence import ByItem, by_item, paired
from claas.results.keys import SHARES, Criterion, Estimator, Items, Key
from claas.results.means import (
    METHOD,
    mean_interval,
    mean_p,
    mean_p_at_most,
    needed_for_mean,
    ratio_interval,
    ratio_p,
    ratio_p_at_most,
)
from claas.results.records import Transcript
from claas.results.statistics import (
    Interval,
    needed_for_proportion,
    needed_for_retention,
    proportion_p,
    retention_interval,
    retention_p,
    wilson,
)

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


def estimate(key: Key, after: Rollouts, before: Rollouts, threshold: float, confidence: float) -> Estimate:
    """The estimate of a key's criterion, from the transcripts after training and those at baseline."""
    if key.criterion is None or key.items is None:
        raise ValueError(f"{key.key} has no criterion")
    judged = _Judged(_noun(key.items), key.criterion.above, *_bounds(key), threshold, confidence)
    return _ESTIMATORS[key.criterion.estimator](judged, by_item(after, key.items), by_item(before, key.items))


def mean_of(key: Key, values: ByItem, confidence: float) -> Estimate:
    """The mean of one measurement: with Wilson's interval for scores, and that of the mean for the rest."""
    known, lost = _known(values), len(values) - len(_known(values))
    if not known:
        return _nothing(values)
    if _items(key).value in SHARES:
        interval = _wilson(sum(known), lost, len(values), confidence)
        return Estimate(fmean(known), interval, None, len(known), note=_any_score(lost, len(values)))
    interval = _within(mean_interval(known, confidence), *_bounds(key))
    return Estimate(fmean(known), interval, None, len(known), note=_left_out(lost))


def change_interval(key: Key, after: Rollouts, before: Rollouts, confidence: float) -> Interval | None:
    """The interval of the mean change of a key's items, over those that were measured both times."""
    changes, _ = _changes(by_item(after, _items(key)), by_item(before, _items(key)))
    return difference_interval(key, changes, confidence)


def difference_interval(key: Key, differences: Sequence[float], confidence: float) -> Interval | None:
    """The interval of the mean of differences, one per item that was measured both times."""
    least, greatest = _bounds(key)
    return _within(mean_interval(differences, confidence), least - greatest, greatest - least)


def threshold_of(criterion: Criterion, criteria: Mapping[str, float]) -> float:
    """The threshold that `criteria` sets, or else the declared one."""
    return float(criteria.get(criterion.name, criterion.threshold))


def is_beyond(criterion: Criterion, now: float, before: float | None, threshold: float) -> bool:
    """Whether a number is on the bad side of its criterion's threshold, given what it was at baseline."""
    if criterion.estimator in ("gain", "change", "shift", "ratio", "retention"):
        if before is None:
            return False
        if criterion.estimator in ("gain", "change", "shift"):
            now = abs(now - before) if criterion.estimator == "shift" else now - before
        else:
            threshold *= before
    return now < threshold if criterion.above else now > threshold


def require_threshold(key: Key, criterion: Criterion, threshold: float) -> None:
    """`InvalidInput` for a threshold that no estimate of this kind could meet, or none could miss."""
    low, high = _bounds(key) if criterion.estimator == "mean" else _THRESHOLDS[criterion.estimator]
    in_range(f"criteria.{criterion.name}", threshold, max(low, -_FAR), high)


def formula_of(key: Key) -> str:
    """What a key's criterion estimates, and how its interval and its p-value are made."""
    if key.criterion is None:
        raise ValueError(f"{key.key} has no criterion")
    return f"{key.criterion.formula}; {_METHODS[key.criterion.estimator].format(clusters=_items(key).cluster)}"


@dataclass(frozen=True)
class _Judged:
    """What is estimated: `noun` names it, `above` the threshold is good, its items lie from `least` to `greatest`."""

    noun: str
    above: bool
    least: float
    greatest: float
    threshold: float
    confidence: float

    def p_of_mean(self, values: Sequence[float]) -> float | None:
        return (mean_p if self.above else mean_p_at_most)(values, self.threshold)


def _share(judged: _Judged, after: ByItem, _: ByItem) -> Estimate:
    known = _known(after)
    lost = len(after) - len(known)
    if not known:
        return _nothing(after)
    value, n, threshold = sum(known) / len(known), len(after), judged.threshold
    at_best = (sum(known) + lost, threshold) if judged.above else (n - sum(known), 1 - threshold)
    return Estimate(
        value,
        _wilson(sum(known), lost, n, judged.confidence),
        proportion_p(at_best[0], n, at_best[1]),
        len(known),
        partial(needed_for_proportion, value, threshold),
        _any_score(lost, n),
    )


def _mean(judged: _Judged, after: ByItem, _: ByItem) -> Estimate:
    known = _known(after)
    if not known:
        return _nothing(after)
    return Estimate(
        fmean(known),
        _within(mean_interval(known, judged.confidence), judged.least, judged.greatest),
        judged.p_of_mean(known),
        len(known),
        partial(needed_for_mean, known, judged.threshold),
        _left_out(len(after) - len(known)),
    )


def _gain(judged: _Judged, after: ByItem, before: ByItem) -> Estimate:
    changes, lost = _changes(after, before)
    if not changes:
        return _nothing(after)
    return Estimate(
        fmean(changes),
        mean_interval(changes, judged.confidence),
        judged.p_of_mean(changes),
        len(changes),
        partial(needed_for_mean, changes, judged.threshold),
        _left_out(lost),
    )


def _change(judged: _Judged, after: ByItem, before: ByItem) -> Estimate:
    """Of the items that had a score at baseline; those lost since may have any."""
    was = {item: score for item, score in before.items() if score is not None}
    now = {item: after.get(item) for item in was}
    known, known_was, lost = paired(now, was)
    if not known:
        return _nothing(now)
    worst, best = (
        paired_test(PairedScores(list(was.values()), [filler if score is None else score for score in now.values()]))
        for filler in (0.0, 1.0)
    )
    low, high = worst.interval(judged.confidence), best.interval(judged.confidence)
    found = paired_test(PairedScores(known_was, known))
    return Estimate(
        fmean(known) - fmean(known_was),
        Interval(low.low, high.high) if low and high else None,
        best.p_at_least(judged.threshold),
        len(known),
        partial(found.needed, judged.threshold),
        _any_score(lost, len(was)),
    )


def _shift(judged: _Judged, after: ByItem, before: ByItem) -> Estimate:
    changes, lost = _changes(after, before)
    if not changes:
        return _nothing(after)
    away = changes if fmean(changes) >= 0 else [-change for change in changes]
    interval = mean_interval(away, judged.confidence)
    return Estimate(
        fmean(away),
        interval and Interval(max(0.0, interval.low), max(-interval.low, interval.high)),
        judged.p_of_mean(away),
        len(away),
        partial(needed_for_mean, away, judged.threshold),
        _left_out(lost),
    )


def _ratio(judged: _Judged, after: ByItem, before: ByItem) -> Estimate:
    now, was, lost = paired(after, before)
    if not now:
        return _nothing(after)
    if not sum(was):
        note = f"the {judged.noun} was 0 at baseline: there is no ratio to it"
        return Estimate(None, None, None, len(now), note=note)
    excess = [new - judged.threshold * old for new, old in zip(now, was, strict=True)]
    return Estimate(
        sum(now) / sum(was),
        _within(ratio_interval(now, was, judged.confidence), 0.0),
        (ratio_p if judged.above else ratio_p_at_most)(now, was, judged.threshold),
        len(now),
        partial(needed_for_mean, excess, 0.0),
        _left_out(lost),
    )


def _retention(judged: _Judged, after: ByItem, before: ByItem) -> Estimate:
    was = {item: score for item, score in before.items() if score is not None}
    now = {item: after.get(item) for item in was}
    known, known_was, lost = paired(now, was)
    if not known:
        return _nothing(now)
    if not sum(known_was):
        return Estimate(None, None, None, len(known), note="no item passed at baseline: there is nothing to retain")
    worst, best = ([filler if score is None else score for score in now.values()] for filler in (0.0, 1.0))
    low = retention_interval(worst, list(was.values()), judged.confidence)
    high = retention_interval(best, list(was.values()), judged.confidence)
    return Estimate(
        sum(known) / sum(known_was),
        Interval(low.low, high.high) if low and high else None,
        retention_p(best, list(was.values()), judged.threshold),
        len(known),
        partial(needed_for_retention, known, known_was, judged.threshold),
        _any_score(lost, len(was)),
    )


def _items(key: Key) -> Items:
    if key.items is None:
        raise ValueError(f"{key.key} is not declared as a mean of items")
    return key.items


def _noun(items: Items) -> str:
    """What an item's value is called in a sentence: `entropy`, `mean logprob`, `words` of `verdict.words`."""
    return items.value.rpartition(".")[2].replace("_", " ")


def _bounds(key: Key) -> tuple[float, float]:
    low, high = key.limits
    return -math.inf if low is None else low, math.inf if high is None else high


def _changes(after: ByItem, before: ByItem) -> tuple[list[float], int]:
    """The values after less those before, of what was measured both times; and how many items were not."""
    now, was, lost = paired(after, before)
    return [new - old for new, old in zip(now, was, strict=True)], lost


def _known(values: ByItem) -> list[float]:
    return [value for value in values.values() if value is not None]


def _wilson(successes: float, lost: int, n: int, confidence: float) -> Interval:
    """Wilson's interval, whatever the lost items would have scored."""
    return Interval(wilson(successes, n, confidence).low, wilson(successes + lost, n, confidence).high)


def _within(interval: Interval | None, low: float, high: float = math.inf) -> Interval | None:
    return interval and Interval(min(max(interval.low, low), high), max(min(interval.high, high), low))


def _nothing(values: ByItem) -> Estimate:
    return Estimate(None, None, None, 0, note=f"due, and not measured: all {len(values)} were lost")


def _any_score(lost: int, planned: int) -> str | None:
    return f"{lost} of {planned} lost; the interval leaves them any score" if lost else None


def _left_out(lost: int) -> str | None:
    return f"{lost} lost and left out" if lost else None


_ESTIMATORS: Mapping[Estimator, Callable[[_Judged, ByItem, ByItem], Estimate]] = {
    "share": _share,
    "mean": _mean,
    "gain": _gain,
    "change": _change,
    "shift": _shift,
    "ratio": _ratio,
    "retention": _retention,
}

_OF_MEANS = f"over {{clusters}}, interval and p: {METHOD}"

_METHODS: Mapping[Estimator, str] = {
    "share": "Wilson interval; p: exact binomial (Clopper & Pearson 1934)",
    "mean": _OF_MEANS,
    "gain": _OF_MEANS,
    "change": "of right-or-wrong items interval and p: paired, half an item added to each case (Agresti & Min 2005)",
    "shift": _OF_MEANS,
    "ratio": _OF_MEANS,
    "retention": "interval and p: paired score test (Tang, Tang & Chan 2003)",
}
"""How each estimator makes its interval and its p-value."""

_FAR = 1e6

_THRESHOLDS: Mapping[Estimator, tuple[float, float]] = {
    "share": (0.0, 1.0),
    "gain": (-_FAR, math.inf),
    "change": (-1.0, 1.0),
    "shift": (0.0, math.inf),
    "ratio": (0.0, math.inf),
    "retention": (0.0, 1.0),
}
"""The lowest and the highest threshold that makes sense; for a mean those are the limits of the key itself."""
