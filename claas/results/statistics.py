"""Intervals, tests and sample sizes of proportions, one by one and paired: pure functions of the measurements.

Sources stand beside each. Every interval is two-sided at `confidence`; every p-value is one-sided, small when the data
lie below what it tests. None means that these data cannot give one. A sample size is the fewest with which a verdict
comes with probability `POWER`, were the truth as estimated. Means and ratios of means are in `means.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import scipy  # pyright: ignore[reportMissingTypeStubs]

_scipy: Any = scipy  # ships no types: what comes from it is made a float where it enters


@dataclass(frozen=True)
class Interval:
    """A confidence interval, ends included."""

    low: float
    high: float


POWER = 0.8
"""The conventional chance that a study of the size asked for concludes (Cohen 1988)."""


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion (Wilson 1927; recommended by Newcombe 1998 and Brown et al. 2001).

    `successes` may be fractional, the sum of n scores in [0, 1]: such a score's variance is at most p(1 - p), that of
    a yes-or-no with the same mean (Bhatia & Davis 2000), so the interval is then wider than it need be, not narrower.

    It covers as it says on average, not at every n. With the truth at 0.8 and n = 64 its low end is above the truth
    in 1.8 % of samples and its high end below it in 2.2 %, of 2.5 % each; over n = 16 to 256 at most 2.9 % and 5.1 %.
    """
    _check_proportion(successes, n)
    z = normal_quantile((1 + confidence) / 2)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Interval(min(max(0.0, centre - half), rate), max(min(1.0, centre + half), rate))


def proportion_p(successes: float, n: int, threshold: float) -> float:
    """One-sided exact p-value that the proportion is `threshold` or more: P(at most `successes`), binomial.

    Clopper & Pearson 1934; for fractional successes the same incomplete beta function. The normal tail behind `wilson`
    is too light below a high threshold (up to 5.1 %, see there), which a family of tests at stricter levels magnifies.
    """
    _check_proportion(successes, n)
    return 1.0 if successes == n else float(_scipy.special.betainc(n - successes, successes + 1, 1 - threshold))


def needed_for_proportion(rate: float, threshold: float, confidence: float = 0.95) -> int | None:
    """The fewest items at which `wilson` would leave the threshold outside with probability `POWER`, were this the
    true rate: n > (z sqrt(t(1 - t)) + z_power sqrt(r(1 - r)))² / (r - t)² (Fleiss, Levin & Paik 2003, chapter 2).
    """
    if rate == threshold:
        return None
    at_threshold, as_is = (math.sqrt(share * (1 - share)) for share in (threshold, rate))
    return above(size_for_power(at_threshold, as_is, rate - threshold, confidence))


def _check_proportion(successes: float, n: int) -> None:
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"needs 0 <= successes <= n and n > 0, got {successes} of {n}")


_ZERO = 1e-9


def retention_interval(after: Sequence[float], before: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """The ratio of two paired pass rates, mean after / mean before, by inverting its score test.

    Tang, Tang & Chan 2003 ("On tests of equivalence via non-unity relative risk for matched-pair design"). Unlike a
    bootstrap it does not shrink to a point when no item changed: with no loss it is Wilson's. Scores in [0, 1] other
    than 0 and 1 count as fractions of an item, which makes it wider, as in `wilson`. None when nothing passed before.
    """
    table = _Pairs.of(after, before)
    if table.both + table.only_before <= 0:
        return None
    z = normal_quantile((1 + confidence) / 2)
    ratio = (table.both + table.only_after) / (table.both + table.only_before)
    top = max(1.0, 2 * ratio)
    while table.statistic(top) > -z:
        top *= 2
    low = table.ratio_at(z, _ZERO, ratio) if ratio > _ZERO else 0.0
    return Interval(min(low, ratio), max(table.ratio_at(-z, max(ratio, _ZERO), top), ratio))


def retention_p(after: Sequence[float], before: Sequence[float], threshold: float) -> float | None:
    """One-sided p-value that the ratio is `threshold` or more, of the test whose inversion is `retention_interval`."""
    table = _Pairs.of(after, before)
    return normal_tail(table.statistic(threshold)) if table.both + table.only_before > 0 else None


def needed_for_retention(
    after: Sequence[float], before: Sequence[float], threshold: float, confidence: float = 0.95
) -> int | None:
    """The fewest items that would conclude with probability `POWER`, were the true shares the observed ones.

    As in `needed_for_proportion`, for after - threshold * before: its variance is the score test's when the ratio is
    the threshold, and the sample's own when it is not.
    """
    n, statistic = len(after), _Pairs.of(after, before).statistic(threshold)
    excess = [new - threshold * old for new, old in zip(after, before, strict=True)]
    if statistic == 0 or not math.isfinite(statistic):
        return None
    mean = math.fsum(excess) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in excess) / n)
    return above(size_for_power(math.sqrt(n) * mean / statistic, spread, mean, confidence))


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
        return high if excess(high) >= 0 else float(_scipy.optimize.brentq(excess, low, high))


def paired_difference_interval(gained: int, lost: int, n: int, confidence: float = 0.95) -> Interval:
    """The difference of two paired pass rates, (gained - lost) / n, by inverting its score test.

    Tango 1998 ("Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design"). It does not shrink to a point where no pair differs: it is then 0 to z² / (n + z²) on either side.
    """
    z, estimate = normal_quantile((1 + confidence) / 2), (gained - lost) / n

    def beyond(difference: float, bound: float) -> float:
        return paired_difference_z(gained, lost, n, difference) - bound

    low = float(_scipy.optimize.brentq(beyond, -1 + _ZERO, estimate, args=(z,))) if estimate > -1 + _ZERO else -1.0
    high = float(_scipy.optimize.brentq(beyond, estimate, 1 - _ZERO, args=(-z,))) if estimate < 1 - _ZERO else 1.0
    return Interval(low, high)


def paired_difference_z(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's statistic: how many standard errors the difference found lies above `difference`, were that the truth."""
    off = 2 * n * difference - gained - lost + (lost - gained) * difference
    constant = -lost * difference * (1 - difference)
    share_lost = (math.sqrt(max(0.0, off * off - 8 * n * constant)) - off) / (4 * n)
    variance = n * (2 * share_lost + difference * (1 - difference))
    distance = gained - lost - n * difference
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact p-value that losses and gains are equally likely (McNemar 1947; binomial, conditional)."""
    if lost + gained == 0:
        return 1.0
    return float(_scipy.stats.binomtest(lost, lost + gained, 0.5).pvalue)


def holm(p_values: Sequence[float], family: int | None = None) -> list[float]:
    """p-values adjusted so that the chance of any false rejection keeps the level (Holm 1979), in the given order.

    Holds whatever the tests' dependence. `family` is how many hypotheses are in question where that is more than were
    tested: the others count as never rejected, so that testing them later can only lower what is returned here.
    """
    size = len(p_values) if family is None else family
    if size < len(p_values):
        raise ValueError(f"a family of {size} has no {len(p_values)} p-values")
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (size - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def size_for_power(spread_at_threshold: float, spread: float, distance: float, confidence: float) -> float:
    """n at which a normal mean this far from its threshold is told from it with probability `POWER`.

    The spreads are standard deviations of one observation: when the threshold is true, and as it is.
    """
    level, power = normal_quantile((1 + confidence) / 2), normal_quantile(POWER)
    return ((level * spread_at_threshold + power * spread) / distance) ** 2


def above(bound: float) -> int:
    """The smallest positive integer above a bound."""
    return max(1, math.floor(bound) + 1)


def normal_quantile(probability: float) -> float:
    """The quantile of the standard normal distribution."""
    return float(_scipy.special.ndtri(probability))


def normal_tail(z: float) -> float:
    """The probability that a standard normal variable is at most z."""
    return float(_scipy.special.ndtr(z))
