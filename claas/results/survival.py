"""How long something takes over several seeds, of which some may never see it: no mean of those that did.

The share that is still waiting is Kaplan & Meier's (1958). Its median has the distribution-free interval of order
statistics (David & Nagaraja 2003, section 7.1). The restricted mean is the area under that share up to what every
complete run had time for (Royston & Parmar 2013): the mean of what it took, or of all the time there was.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import scipy  # pyright: ignore[reportMissingTypeStubs]

from claas.results.efficiency import Reached
from claas.results.means import fewest_identical, student_interval
from claas.results.records import Record

_scipy: Any = scipy  # ships no types: what comes from it is made a float where it enters


class Survival(Record):
    """Interactions until something came, over seeds; `censored` seeds made as many as they did without it.

    `by_seed` has what it took, null where it did not come. `waiting` has the share of seeds that still wait after so
    many interactions, from there on (Kaplan-Meier). `median` is null where more than half still wait at the end, and
    the upper end of `median_ci` is null where it lies beyond what was made; the interval needs six seeds at 95 %.
    `restricted_mean` is up to `restricted_to` interactions; its interval is null where a seed ended before those.
    """

    by_seed: dict[str, float | None]
    censored: int
    waiting: list[tuple[float, float]]
    median: float | None
    median_ci: tuple[float, float | None] | None
    restricted_mean: float
    restricted_mean_ci: tuple[float, float] | None
    restricted_to: float
    note: str | None = None


def survival_of(by_seed: Mapping[str, Reached], complete: Sequence[str], confidence: float) -> Survival | None:
    """What it took in each seed; `complete` names those that made all the interactions they were to make.

    None where no seed made any.
    """
    made = [by_seed[seed].made for seed in complete if seed in by_seed] or [each.made for each in by_seed.values()]
    if not by_seed or max(made) == 0:
        return None
    until = {seed: each.interactions for seed, each in by_seed.items()}
    came = [value for value in until.values() if value is not None]
    ended = [float(by_seed[seed].made) for seed, value in until.items() if value is None]
    waiting = _kaplan_meier(came, ended)
    restricted_to = float(min(made))
    interval = None
    if all(end >= restricted_to for end in ended):
        interval = student_interval([min(value, restricted_to) for value in [*came, *ended]], confidence)
    fewest = fewest_identical(confidence)
    short = f"an interval of a median needs {fewest} seeds at {100 * confidence:g} %, there are {len(until)}"
    return Survival(
        by_seed=until,
        censored=len(ended),
        waiting=waiting,
        median=next((at for at, share in waiting if share <= 0.5), None),
        median_ci=_median_interval(came, ended, confidence),
        restricted_mean=_area(waiting, restricted_to),
        restricted_mean_ci=interval and (interval.low, interval.high),
        restricted_to=restricted_to,
        note=short if len(until) < fewest else None,
    )


def _kaplan_meier(came: Sequence[float], ended: Sequence[float]) -> list[tuple[float, float]]:
    """The steps of the curve, with its start at 0 interactions."""
    curve = _scipy.stats.ecdf(_scipy.stats.CensoredData(uncensored=list(came), right=list(ended))).sf
    steps = [(float(at), float(share)) for at, share in zip(curve.quantiles, curve.probabilities, strict=True)]
    at_once = steps[0][1] if steps and steps[0][0] == 0 else 1.0
    return [(0.0, at_once), *(step for step in steps if step[0] > 0)]


def _area(waiting: Sequence[tuple[float, float]], end: float) -> float:
    """That under the curve from 0 to `end`."""
    within = [step for step in waiting if step[0] < end]
    return math.fsum(share * (later - at) for (at, share), (later, _) in pairwise([*within, (end, 0.0)]))


def _median_interval(
    came: Sequence[float], ended: Sequence[float], confidence: float
) -> tuple[float, float | None] | None:
    """The k-th of n from either end, k as large as the confidence lets it be; None where it lets none.

    What ended without it may have come right after, or never: both ends allow for that.
    """
    n = len(came) + len(ended)
    k = int(
        _scipy.stats.binom.ppf((1 - confidence) / 2, n, 0.5)
    )  # P(fewer than k of n below the median) is at most a half
    if k < 1:
        return None
    earliest, latest = sorted([*came, *ended]), sorted([*came, *(math.inf for _ in ended)])
    return earliest[k - 1], None if math.isinf(latest[n - k]) else latest[n - k]
