"""Confidence intervals, tests and sample sizes: pure functions of the measurements, sources beside each.

Every interval is two-sided at `confidence`. None means that these data cannot give one. Values are one per cluster
(prompt, pair, item): whoever samples a prompt more than once averages its samples first, so that resampling and
degrees of freedom count prompts (Cameron & Miller 2015, "A practitioner's guide to cluster-robust inference").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats  # pyright: ignore[reportMissingTypeStubs]

FEWEST_TO_RESAMPLE = 10
"""Below this many clusters resampling has too few distinct samples to know its own tails, and Student's t is used."""

_optimize: Any = optimize  # scipy ships no types: what comes from it is made a float where it enters
_stats: Any = stats
_ZERO = 1e-9
_RESAMPLES = 4000
_SEED = 20_260_101

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A confidence interval, ends included."""

    low: float
    high: float


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion (Wilson 1927; recommended by Newcombe 1998 and Brown et al. 2001).

    `successes` may be fractional, the sum of n scores in [0, 1]: such a score's variance is at most p(1 - p), that of
    a yes-or-no with the same mean (Bhatia & Davis 2000), so the interval is then wider than it need be, not narrower.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = _z(confidence)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Interval(min(max(0.0, centre - half), rate), max(min(1.0, centre + half), rate))


def needed_for_wilson(rate: float, threshold: float, confidence: float = 0.95) -> int | None:
    """The fewest items at which a Wilson interval around this rate would leave the threshold outside.

    The interval holds the thresholds that a score test does not reject, so: n > z² t(1 - t) / (rate - t)².
    """
    if rate == threshold:
        return None
    return _more_than(_z(confidence) ** 2 * threshold * (1 - threshold) / (rate - threshold) ** 2)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """The mean of a sample of clusters; for paired data, pass the differences.

    From `FEWEST_TO_RESAMPLE` on, a bootstrap interval with Hesterberg's small-sample level (2015, "What teachers
    should know about the bootstrap", expanded percentile); below, Student's t.
    """
    sample = _array(values)
    if _says_nothing(sample, confidence):
        return None
    mean = float(sample.mean())
    if len(sample) < FEWEST_TO_RESAMPLE:
        return _student(mean, sample - mean, confidence)
    return _percentiles(sample[_resamples(len(sample))].mean(axis=1), len(sample), confidence)


def ratio_interval(after: Sequence[float], before: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """The ratio of two means, paired by cluster; None when the mean before is not positive.

    Resampled in pairs as `mean_interval` is; with few pairs, Student's t on the linearised ratio, whose residuals are
    (after - ratio * before) / mean before (Cochran 1977, "Sampling techniques", section 6.3).
    """
    top, bottom = _array(after), _array(before)
    if len(top) != len(bottom):
        raise ValueError(f"pairs need equal lengths, got {len(top)} and {len(bottom)}")
    if not len(top) or bottom.mean() <= 0:
        return None
    ratio = float(top.mean() / bottom.mean())
    residuals = (top - ratio * bottom) / bottom.mean()
    if _says_nothing(residuals, confidence):
        return None
    drawn = _resamples(len(top))
    means = bottom[drawn].mean(axis=1)
    if len(top) < FEWEST_TO_RESAMPLE or bool((means <= 0).any()):
        return _student(ratio, residuals, confidence)
    return _percentiles(top[drawn].mean(axis=1) / means, len(top), confidence)


def needed_for_mean(values: Sequence[float], threshold: float, confidence: float = 0.95) -> int | None:
    """The fewest clusters at which Student's interval, with this sample's mean and spread, leaves the threshold out.

    None when the mean is the threshold, or when one value says nothing of the spread.
    """
    sample = _array(values)
    distance = abs(float(sample.mean()) - threshold) if len(sample) else 0.0
    if len(sample) < 2 or distance == 0:
        return None
    spread = float(sample.std(ddof=1))
    if spread == 0:
        return fewest_identical(confidence)
    n = max(2, math.ceil((_z(confidence) * spread / distance) ** 2))
    while _t(n - 1, confidence) * spread / math.sqrt(n) >= distance:
        n += 1
    return n


def fewest_identical(confidence: float = 0.95) -> int:
    """How many equal values make an interval: the sample's range covers the median with probability 1 - 2 / 2^n."""
    return math.ceil(1 - math.log2(1 - confidence) - 1e-9)


def retention_interval(after: Sequence[float], before: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """The ratio of two paired pass rates, mean after / mean before, by inverting its score test.

    Tang, Tang & Chan 2003 ("On tests of equivalence via non-unity relative risk for matched-pair design"). Unlike a
    bootstrap it does not shrink to a point when no item changed: with no loss it is Wilson's. Scores in [0, 1] other
    than 0 and 1 count as fractions of an item, which makes it wider, as in `wilson`. None when nothing passed before.
    """
    table = _Pairs.of(after, before)
    if table.both + table.only_before <= 0:
        return None
    z = _z(confidence)
    ratio = (table.both + table.only_after) / (table.both + table.only_before)
    top = max(1.0, 2 * ratio)
    while table.statistic(top) > -z:
        top *= 2
    low = table.ratio_at(z, _ZERO, ratio) if ratio > _ZERO else 0.0
    return Interval(min(low, ratio), max(table.ratio_at(-z, max(ratio, _ZERO), top), ratio))


def needed_for_retention(
    after: Sequence[float], before: Sequence[float], threshold: float, confidence: float = 0.95
) -> int | None:
    """The fewest items that would conclude at the observed shares: the statistic grows with the root of n."""
    statistic = _Pairs.of(after, before).statistic(threshold)
    if statistic == 0 or not math.isfinite(statistic):
        return None
    return _more_than(len(after) * (_z(confidence) / statistic) ** 2)


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact p-value that losses and gains are equally likely (McNemar 1947; binomial, conditional)."""
    if lost + gained == 0:
        return 1.0
    return float(_stats.binomtest(lost, lost + gained, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false rejection keeps the level (Holm 1979), in the given order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class _Pairs:
    """Items that pass both times, only before, only after, of n; for scores, the expected numbers under the coupling
    that makes both agree as often as they can."""

    both: float
    only_before: float
    only_after: float
    n: int

    @classmethod
    def of(cls, after: Sequence[float], before: Sequence[float]) -> "_Pairs":
        pairs = list(zip(after, before, strict=True))
        if any(not 0 <= score <= 1 for pair in pairs for score in pair):
            raise ValueError("scores must be in [0, 1]")
        return cls(
            both=math.fsum(min(pair) for pair in pairs),
            only_before=math.fsum(max(0.0, old - new) for new, old in pairs),
            only_after=math.fsum(max(0.0, new - old) for new, old in pairs),
            n=len(pairs),
        )

    def statistic(self, ratio: float) -> float:
        """The score statistic of "after = ratio * before", standard normal when that is true; falls with `ratio`."""
        any_pass = self.both + self.only_before + self.only_after
        before, after = self.both + self.only_before, self.both + self.only_after
        a = self.n * (1 + ratio)
        b = before * ratio**2 - (after + 2 * self.only_before)
        c = self.only_before * (1 - ratio) * any_pass / self.n
        lost = (-b + math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)  # share passing only before, given the ratio
        variance = self.n * (1 + ratio) * lost + any_pass * (ratio - 1)
        difference = after - ratio * before
        if variance <= 0:
            return math.copysign(math.inf, difference) if difference else 0.0
        return difference / math.sqrt(variance)

    def ratio_at(self, statistic: float, low: float, high: float) -> float:
        """The ratio between these two at which the statistic has this value; an end when it lies beyond."""

        def excess(ratio: float) -> float:
            return max(-1e9, min(1e9, self.statistic(ratio) - statistic))

        if excess(low) <= 0:
            return low
        return high if excess(high) >= 0 else float(_optimize.brentq(excess, low, high))


def _says_nothing(sample: Array, confidence: float) -> bool:
    """Too small for a spread, or equal throughout and too small for that to mean anything."""
    if len(sample) < 2:
        return True
    alike = float(np.ptp(sample)) <= 1e-9 * max(1e-9, float(np.abs(sample).max()))
    return alike and len(sample) < fewest_identical(confidence)


def _student(estimate: float, residuals: Array, confidence: float) -> Interval:
    half = _t(len(residuals) - 1, confidence) * float(residuals.std(ddof=1)) / math.sqrt(len(residuals))
    return Interval(estimate - half, estimate + half)


def _resamples(n: int) -> NDArray[np.int64]:
    return np.random.default_rng(_SEED).integers(0, n, size=(_RESAMPLES, n))  # (resamples, n)


def _percentiles(statistics: Array, n: int, confidence: float) -> Interval:
    tail = float(_stats.norm.sf(math.sqrt(n / (n - 1)) * _t(n - 1, confidence)))
    low, high = np.quantile(statistics, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _array(values: Sequence[float]) -> Array:
    return np.asarray(values, dtype=np.float64)


def _z(confidence: float) -> float:
    return float(_stats.norm.ppf((1 + confidence) / 2))


def _t(degrees: int, confidence: float) -> float:
    return float(_stats.t.ppf((1 + confidence) / 2, degrees))


def _more_than(bound: float) -> int:
    return max(1, math.floor(bound) + 1)
