"""How a criterion is estimated over seeds: as `criteria` does for one run, from the cells of a table of seeds by items.

A ratio is estimated from its cells' linearised values, ratio + (after - ratio * before) / mean before, whose mean it is
(Cochran 1977, "Sampling techniques", section 6.3).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from claas.results.crossed import CHANGES, LEVELS, Crossed
from claas.results.evidence import ByItem, by_item, item_of
from claas.results.keys import SHARES, Estimator, Items, Key
from claas.results.records import Transcript
from claas.results.statistics import Interval


@dataclass(frozen=True)
class SeedItems:
    """What the items of one seed came to after training, and at baseline."""

    after: ByItem
    before: ByItem

    @classmethod
    def of(cls, after: Iterable[Transcript], before: Iterable[Transcript], items: Items) -> "SeedItems":
        """From transcripts."""
        return cls(_by_prompt(list(after), items), _by_prompt(list(before), items))


@dataclass(frozen=True)
class SeedsEstimate:
    """A criterion's number over seeds; `table` is None where nothing was measured, and `by_seed` has each seed's own.

    `lowest` and `highest` are the tables with what was lost at its worst and at its best: ends of the interval.
    """

    by_seed: Sequence[float | None]
    table: Crossed | None
    lowest: Crossed | None
    highest: Crossed | None
    limits: tuple[float, float]
    lost: int

    def interval(self, confidence: float) -> Interval | None:
        """It leaves scores that were lost any value."""
        if self.table is None or self.lowest is None or self.highest is None:
            return None
        low, high = self.lowest.interval(confidence), self.highest.interval(confidence)
        if low is None or high is None:
            return None
        least, greatest = self.limits
        return Interval(min(max(low.low, least), greatest), max(min(high.high, greatest), least))

    def p(self, threshold: float, above: bool) -> float | None:
        """One-sided p-value of the criterion being met."""
        if above:
            return self.highest and self.highest.p_at_least(threshold)
        return self.lowest and self.lowest.p_at_most(threshold)


def estimate_over_seeds(key: Key, seeds: Sequence[SeedItems]) -> SeedsEstimate:
    """The estimate of a key's criterion from every seed's items."""
    if key.criterion is None or key.items is None:
        raise ValueError(f"{key.key} has no criterion")
    estimator, passes = key.criterion.estimator, _passes(key)
    cells = _CELLS[estimator]
    judged = [_judged(estimator, seed) for seed in seeds]
    lost = sum(value is None for seed in judged for value in seed.after.values())
    tables = [_crossed(cells(judged), _added(estimator, passes, judged))] * 3
    if lost and estimator in ("share", "retention"):
        for place, filler in ((1, 0.0), (2, 1.0)):
            filled = [replace(seed, after=_filled(seed.after, filler)) for seed in judged]
            tables[place] = _crossed(cells(filled), _added(estimator, passes, filled))
    low, high = key.limits if estimator == "mean" else _LIMITS[estimator]
    return SeedsEstimate(
        by_seed=[_mean(cells([seed])) for seed in judged],
        table=tables[0],
        lowest=tables[1],
        highest=tables[2],
        limits=(-math.inf if low is None else low, math.inf if high is None else high),
        lost=lost,
    )


def difference_over_seeds(
    key: Key, pairs: Sequence[tuple[SeedItems, SeedItems]]
) -> tuple[list[float | None], Crossed | None]:
    """What the items come to in the second of each pair less in the first, which have one seed: by seed, and over all.

    Only items that were measured in both are in it.
    """
    rows = [_differences(other.after, one.after) for one, other in pairs]
    return [_mean([row]) for row in rows], _crossed(rows, CHANGES if _passes(key) else ())


def _passes(key: Key) -> bool:
    """Whether the items of a key are scores, which pass or fail."""
    if key.items is None:
        return False
    return key.items.value in SHARES or (key.items.value.startswith("verdict.") and key.limits == (0.0, 1.0))


Row = Mapping[str, float | None]
"""The cells of one seed by item."""


def _values(seeds: Sequence[SeedItems]) -> list[Row]:
    return [seed.after for seed in seeds]


def _gains(seeds: Sequence[SeedItems]) -> list[Row]:
    return [_differences(seed.after, seed.before) for seed in seeds]


def _shifts(seeds: Sequence[SeedItems]) -> list[Row]:
    """Changes in the direction of each seed's own mean: those of seeds that went opposite ways do not cancel."""
    rows = _gains(seeds)
    signs = [-1.0 if (_mean([row]) or 0.0) < 0 else 1.0 for row in rows]
    return [
        {item: None if value is None else sign * value for item, value in row.items()}
        for row, sign in zip(rows, signs, strict=True)
    ]


def _ratios(seeds: Sequence[SeedItems]) -> list[Row]:
    pairs = [_pairs(seed.after, seed.before) for seed in seeds]
    known = [pair for row in pairs for pair in row.values()]
    before = math.fsum(was for _, was in known)
    if before <= 0:
        return []
    ratio, mean = math.fsum(now for now, _ in known) / before, before / len(known)
    return [{item: ratio + (now - ratio * was) / mean for item, (now, was) in row.items()} for row in pairs]


_CELLS: Mapping[Estimator, Callable[[Sequence[SeedItems]], list[Row]]] = {
    "share": _values,
    "mean": _values,
    "gain": _gains,
    "shift": _shifts,
    "ratio": _ratios,
    "retention": _ratios,
}

_LIMITS: Mapping[Estimator, tuple[float | None, float | None]] = {
    "share": (0.0, 1.0),
    "gain": (None, None),
    "shift": (0.0, None),
    "ratio": (0.0, None),
    "retention": (0.0, None),
}
"""Ends that an interval cannot lie beyond; a mean's are the limits of the key itself."""


def _judged(estimator: Estimator, seed: SeedItems) -> SeedItems:
    """Only what was there before can be retained."""
    if estimator != "retention":
        return seed
    known = {item: value for item, value in seed.before.items() if value is not None}
    return SeedItems({item: seed.after.get(item) for item in known}, known)


def _added(estimator: Estimator, passes: bool, seeds: Sequence[SeedItems]) -> Sequence[float]:
    """What is put to the cells of items that pass or fail, so that those that all pass have a width."""
    if not passes:
        return ()
    if estimator in ("share", "mean"):
        return LEVELS
    if estimator in ("gain", "shift"):
        return CHANGES
    known = [pair for seed in seeds for pair in _pairs(seed.after, seed.before).values()]
    now, before = (math.fsum(pair[end] for pair in known) for end in (0, 1))
    return [] if before <= 0 else [now / before + change * len(known) / before for change in CHANGES]


def _crossed(rows: Sequence[Row], added: Sequence[float]) -> Crossed | None:
    measured = [row for row in rows if any(value is not None for value in row.values())]
    items = dict.fromkeys(item for row in measured for item in row)
    return Crossed.of([[row.get(item) for item in items] for row in measured], added) if measured else None


def _mean(rows: Sequence[Row]) -> float | None:
    known = [value for row in rows for value in row.values() if value is not None]
    return math.fsum(known) / len(known) if known else None


def _filled(values: ByItem, filler: float) -> ByItem:
    return {item: filler if value is None else value for item, value in values.items()}


def _differences(after: ByItem, before: ByItem) -> Row:
    return {item: now - was for item, (now, was) in _pairs(after, before).items()}


def _pairs(after: ByItem, before: ByItem) -> dict[str, tuple[float, float]]:
    """What was measured both times."""
    pairs = {item: (after[item], before[item]) for item in after if item in before}
    return {item: (now, was) for item, (now, was) in pairs.items() if now is not None and was is not None}


def _by_prompt(rollouts: Sequence[Transcript], items: Items) -> ByItem:
    """Items under their name and what was asked, which makes those of two seeds the same."""
    asked = {item_of(rollout, items): rollout.prompt for rollout in rollouts}
    return {f"{name}\n{asked[name]}": value for name, value in by_item(rollouts, items).items()}
