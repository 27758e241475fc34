"""Two or more runs: how their final values differ, item by item, and how far runs spread that differ in seed alone.

A difference is between two trained adapters, over prompts like these: items are its sample, as in the verdict. How far
another seed would have come out elsewhere is no part of its interval; the spread over seeds is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import zip_longest
from statistics import fmean, stdev

from claas.results.estimates import Estimate, difference_interval, mean_of
from claas.results.evidence import ByItem, alike, by_item, item_of
from claas.results.items import ItemChanges, changes_between
from claas.results.keys import Items, Key, sets_of_items
from claas.results.means import mean_p, mean_p_at_most, student_interval
from claas.results.records import History, Transcript
from claas.results.statistics import Interval, holm


class Direction(StrEnum):
    """What a difference comes to. Higher and lower also as one of all comparisons; equal: no item differs at all."""

    HIGHER = "higher"
    LOWER = "lower"
    EQUAL = "equal"
    UNCLEAR = "cannot tell"


@dataclass(frozen=True)
class Final:
    """The measurement at which a key was last due: after how many updates, and its transcripts, beside any others.

    The key is declared to be a mean over `items`.
    """

    key: Key
    items: Items
    updates: int
    rollouts: Sequence[Transcript]

    @cached_property
    def by_item(self) -> ByItem:
        """The value of every item."""
        return by_item(self.rollouts, self.items)

    @cached_property
    def behind(self) -> Mapping[str, Mapping[str, Transcript]]:
        """The transcripts that every item's value is made of, by their own names."""
        transcripts: dict[str, dict[str, Transcript]] = {}
        for rollout in self.rollouts:
            item = item_of(rollout, self.items)
            if item is not None:
                transcripts.setdefault(item, {})[rollout.item] = rollout
        return transcripts


@dataclass(frozen=True)
class Finals:
    """What one preference of the run `label` measured last, by key; keys that are no mean over items, and those never
    due after baseline, are absent."""

    label: str
    keys: Mapping[str, Final]


@dataclass(frozen=True)
class Difference:
    """`other` less `reference` in the mean of `key`, over the `n` items that both measured alike.

    Of the items of either run, `alone` ones are in one only, `lost` ones have no value in one of the two, and `unlike`
    ones were asked, or scored, something else in the other. `value`, `interval` and `p` are None where nothing is
    shared; the latter two also where it is too little. `p` is two-sided, of no difference; `p_holm` is it, adjusted
    over the `family` of comparisons that were made together. `updates` are the reference's and the other's.
    """

    preference: str
    key: str
    reference: str
    other: str
    updates: tuple[int, int]
    value: float | None
    interval: Interval | None
    p: float | None
    n: int
    alone: int
    unlike: int
    lost: int
    p_holm: float | None = None
    family: int = 1
    direction: Direction = Direction.UNCLEAR

    @property
    def conclusive(self) -> bool:
        """Whether it is said to be higher or lower."""
        return self.direction in (Direction.HIGHER, Direction.LOWER)


@dataclass(frozen=True)
class ItemDifference:
    """The items of a set that pass in one run and not in the other, of those that both asked alike.

    `lost` ones pass in the reference only, `gained` ones in the other only; of the answers, `before` is the
    reference's and `after` the other's.
    """

    preference: str
    key: Key
    items: Items
    reference: Finals
    other: Finals
    changes: ItemChanges

    @property
    def in_turn(self) -> list[str]:
        """The items, lost and gained in turn, so that the first few have some of both."""
        pairs = zip_longest(self.changes.lost, self.changes.gained)
        return [item for pair in pairs for item in pair if item is not None]


@dataclass(frozen=True)
class Spread:
    """The final values of `n` runs that differ in seed alone: their mean, its interval over runs, and their standard
    deviation (n - 1)."""

    mean: float
    interval: Interval | None
    deviation: float
    n: int
    lowest: float
    highest: float


def finals_of(history: History, label: str) -> Finals:
    """The finals in records that still have their transcripts."""
    finals = {
        key.key: Final(key, key.items, updates, history.rollouts(updates))
        for key in history.keys
        if key.items is not None and (updates := history.last_due(key.key)) is not None
    }
    return Finals(label, finals)


def compared(finals: Iterable[Finals]) -> list[str]:
    """The keys that any of these measured, in the order in which the metrics declare them."""
    return list(dict.fromkeys(key for measured in finals for key in measured.keys))


def having(finals: Iterable[Finals], key: str) -> list[Finals]:
    """Those that measured the key in the same way as the first that did."""
    measured = [one for one in finals if key in one.keys]
    return [one for one in measured if one.keys[key].items == measured[0].keys[key].items]


def compare(preferences: Mapping[str, Sequence[Finals]], confidence: float) -> list[Difference]:
    """Every run against the first that measured the same key of the same preference, by preference and key.

    Many differences are looked at together, so that one is said to be higher or lower only when its interval leaves
    out 0 and its p-value, adjusted over all of them (Holm 1979), is at most 1 - confidence. The chance that equal runs
    are said to differ in anything is then at most that, as far as `means.mean_interval` keeps its level.
    """
    differences = [
        _difference(preference, key, measured[0], other, confidence)
        # Keys first: measurements of one size are resampled together.
        for key in compared(one for finals in preferences.values() for one in finals)
        for preference, finals in preferences.items()
        if (measured := having(finals, key))
        for other in measured[1:]
    ]
    p_values = [difference.p for difference in differences if difference.p is not None]
    adjusted, family = iter(holm(p_values)), len(p_values)
    decided = [
        _with_direction(
            replace(difference, p_holm=None if difference.p is None else next(adjusted), family=family), confidence
        )
        for difference in differences
    ]
    places = {preference: place for place, preference in enumerate(preferences)}
    return sorted(decided, key=lambda difference: places[difference.preference])


def value(final: Final, confidence: float) -> Estimate:
    """A run's own final value, over all that it measured, with what has to be said of its criterion."""
    estimate, criterion = mean_of(final.key, final.by_item, confidence), final.key.criterion
    notes = [note for note in (criterion and criterion.note, estimate.note) if note]
    return replace(estimate, note="; ".join(notes) or None)


def item_differences(preferences: Mapping[str, Sequence[Finals]]) -> list[ItemDifference]:
    """Every run against the first that measured the same set of items, in the order of `compare`.

    McNemar's p-values are adjusted over all that is returned.
    """
    differences = [
        ItemDifference(preference, key, items, measured[0], other, _changes(key, items, measured[0], other))
        for preference, finals in preferences.items()
        for key, items in _sets(finals)
        if (measured := having(finals, key.key))
        for other in measured[1:]
    ]
    adjusted = holm([difference.changes.mcnemar_p for difference in differences])
    return [
        replace(difference, changes=difference.changes.model_copy(update={"mcnemar_p_holm": p}))
        for difference, p in zip(differences, adjusted, strict=True)
    ]


def spread_over_seeds(values: Sequence[float], confidence: float) -> Spread | None:
    """The spread of one final value per run; None with fewer than two. The interval is over runs, of their mean."""
    if len(values) < 2:
        return None
    interval = student_interval(values, confidence)
    return Spread(fmean(values), interval, stdev(values), len(values), min(values), max(values))


def _sets(finals: Sequence[Finals]) -> list[tuple[Key, Items]]:
    """The keys of all these whose items are right or wrong."""
    return sets_of_items({name: final.key for measured in finals for name, final in measured.keys.items()}.values())


def _difference(preference: str, key: str, reference: Finals, other: Finals, confidence: float) -> Difference:
    first, second = reference.keys[key], other.keys[key]
    both = [item for item in first.by_item if item in second.by_item]
    pairs = {item: (second.by_item[item], first.by_item[item]) for item in both}
    measured = {item: new - old for item, (new, old) in pairs.items() if new is not None and old is not None}
    same = set(_measured_alike(first, second))
    differences = [difference for item, difference in measured.items() if item in same]
    return Difference(
        preference=preference,
        key=key,
        reference=reference.label,
        other=other.label,
        updates=(first.updates, second.updates),
        value=fmean(differences) if differences else None,
        interval=difference_interval(first.key, differences, confidence),
        p=_two_sided(differences),
        n=len(differences),
        alone=len(first.by_item.keys() ^ second.by_item.keys()),
        unlike=len(measured) - len(differences),
        lost=len(both) - len(measured),
        direction=Direction.EQUAL if differences and not any(differences) else Direction.UNCLEAR,
    )


def _changes(key: Key, items: Items, reference: Finals, other: Finals) -> ItemChanges:
    first, second = reference.keys[key.key], other.keys[key.key]
    same = _measured_alike(first, second)
    before, after = ([rollout for item in same for rollout in each.behind[item].values()] for each in (first, second))
    return changes_between(before, after, items)


def _measured_alike(reference: Final, other: Final) -> list[str]:
    """The items that are in both, and whose transcripts, as far as both have them, are of the same question."""
    items: list[str] = []
    for item, one in reference.behind.items():
        another = other.behind.get(item, {})
        shared = [name for name in one if name in another]
        if shared and all(alike(one[name], another[name], reference.items) for name in shared):
            items.append(item)
    return items


def _two_sided(differences: Sequence[float]) -> float | None:
    """The p-value of a mean of 0: twice the smaller tail (Cox & Hinkley 1974, section 3.4); None with under two."""
    below, above = mean_p(differences, 0.0), mean_p_at_most(differences, 0.0)
    return None if below is None or above is None else min(1.0, 2 * min(below, above))


def _with_direction(difference: Difference, confidence: float) -> Difference:
    if difference.interval is None or difference.p_holm is None or difference.p_holm > 1 - confidence:
        return difference
    if difference.interval.low > 0:
        return replace(difference, direction=Direction.HIGHER)
    return replace(difference, direction=Direction.LOWER) if difference.interval.high < 0 else difference
