"""How much of what passed before still passes: the ratio of two paired pass rates, by its score test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy import optimize  # pyright: ignore[reportMissingTypeStubs]

from claas.eval.verdicts.statistics import Interval, above, normal_quantile, normal_tail, size_for_power

_optimize: Any = optimize  # scipy ships no types: what comes from it is made a float where it enters
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
    spread = math.sqrt(math.fsum((each - mean) ** 2 for each in excess) / n)
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
        return high if excess(high) >= 0 else float(_optimize.brentq(excess, low, high))
