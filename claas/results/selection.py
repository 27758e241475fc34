"""The best of many checkpoints, and how much of its lead is luck: pure functions of the same items' scores.

The best of 20 is the best on these items, so that its score is biased upwards: of twenty equal checkpoints, right on
half of 100 items each in truth, the best has .59 on average. Three things are said beside it. Its interval is at
1 - (1 - confidence) / how many there are, so that it holds for whichever is chosen (Bonferroni). Within noise of it is
every checkpoint that a test paired by item cannot tell to be worse (Holm 1979): in simulated scans of 20, the truly
best is among them, or chosen, in 98 to 100 %. The earliest of these is the cheapest choice that the items allow, as by
the rule of one standard error (Breiman et al. 1984, "Classification and regression trees", section 3.4.3). And the
choice is made again on half of the items and scored on the other half, many times over: what such a choice is worth
without the bias, though from half as many items. For the twenty equal ones that is .50.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from claas.results.decision import PairedScores, deltas
from claas.results.means import mean_interval, mean_p
from claas.results.records import Record
from claas.results.statistics import Interval, holm, wilson

Array = NDArray[np.float64]

_SPLITS = 500
_SEED = 20_260_102
_ALIKE = 12
"""Decimals within which two scores are the same: additions in another order are no lead."""


class Selection(Record):
    """The best of `candidates` checkpoints by one rule, over the same `items`.

    `ci` is of its score, wide enough to hold for whichever checkpoint is chosen; None where the items cannot give one.
    `split_half` is what a choice by half of the items scores on the other half, on average: unlike `score` it is not
    biased upwards by the choice; None of one item. `within_noise` are the others that the items cannot tell to be
    worse, and `earliest` is the first of them and the best, in order of training.
    """

    rule: str
    best: str
    candidates: int
    items: int
    score: float
    ci: tuple[float, float] | None
    confidence: float
    split_half: float | None
    within_noise: list[str]
    earliest: str


def select(
    rule: str, scores: Mapping[str, Sequence[float]], confidence: float = 0.95, *, less_is_better: bool = False
) -> Selection:
    """The checkpoint whose items have the best mean; the earliest of equal ones.

    `scores` are at least 0, and their mean is at most 1 unless `less_is_better`. They are of the same items in the same
    order for each checkpoint; the checkpoints stand in order of training.
    """
    names, values = list(scores), np.asarray(list(scores.values()), dtype=np.float64)  # (C, N)
    if values.ndim != 2 or not values.size:
        raise ValueError("a choice needs checkpoints with scores of the same items")
    better: Array = -values if less_is_better else values
    best = _first_best(better.mean(axis=1))
    most = math.inf if less_is_better else 1.0
    interval = interval_of(scores[names[best]], 1 - (1 - confidence) / len(names), most)
    worse = _p_worse(better, best)
    within = [name for name, p in zip(names, worse, strict=True) if p >= (1 - confidence) / 2]
    split_half = _split_half(better)
    return Selection(
        rule=rule,
        best=names[best],
        candidates=len(names),
        items=values.shape[1],
        score=float(values[best].mean()),
        ci=interval and (interval.low, interval.high),
        confidence=confidence,
        split_half=-split_half if split_half is not None and less_is_better else split_half,
        within_noise=[name for name in within if name != names[best]],
        earliest=within[0],
    )


def interval_of(scores: Sequence[float], confidence: float = 0.95, most: float = 1.0) -> Interval | None:
    """Of the mean of items' scores, which is between 0 and `most`: Wilson's where each is a share of what is right."""
    if most == 1 and max(scores) <= 1:
        return wilson(math.fsum(scores), len(scores), confidence)
    found = mean_interval(scores, confidence)
    return found and Interval(max(0.0, found.low), min(most, found.high))


def _p_worse(values: Array, best: int) -> list[float]:
    """Of each checkpoint, the adjusted p-value that it is as good as the best; of the best itself 1."""
    others = [place for place in range(len(values)) if place != best]
    if values.min() >= 0 and values.max() <= 1:
        pairs = {str(place): PairedScores(_listed(values[best]), _listed(values[place])) for place in others}
        told = [delta.p for delta in deltas(pairs, 0.0).values()]
    else:
        raw = [mean_p(_listed(values[place] - values[best]), 0.0) for place in others]
        told = holm([1.0 if p is None else p for p in raw])
    found = dict(zip(others, told, strict=True))
    return [found.get(place, 1.0) for place in range(len(values))]


def _split_half(values: Array) -> float | None:
    """The mean score on one half of the items of what was best on the other, both ways, over all or many halves."""
    items = values.shape[1]
    size = items // 2
    if not size:
        return None
    one: Array = _halves(items, size) @ values.T  # (S, C), sums
    first, second = one / size, (values.sum(axis=1) - one) / (items - size)
    both = [*zip(first, second, strict=True), *zip(second, first, strict=True)]
    return math.fsum(float(other[_first_best(half)]) for half, other in both) / len(both)


def _halves(items: int, size: int) -> Array:
    """(S, N): a row of ones and zeros for each way to choose so many items, or for some ways where there are many."""
    chance = np.random.default_rng(_SEED)
    ways: Iterable[Sequence[int]] = (
        itertools.combinations(range(items), size)
        if math.comb(items, size) <= _SPLITS
        else [chance.permutation(items)[:size].tolist() for _ in range(_SPLITS)]
    )
    return np.asarray([np.bincount(way, minlength=items) for way in ways], dtype=np.float64)


def _first_best(scores: Array) -> int:
    return int(np.argmax(np.round(scores, _ALIKE)))


def _listed(values: Array) -> list[float]:
    return [float(value) for value in values]
