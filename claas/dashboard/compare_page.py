"""Two or more recorded runs beside each other, as a page: each against the first, item by item."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from claas.core.errors import InvalidInput
from claas.dashboard.charts import Charts, charts_of
from claas.dashboard.distinctions import (
    Distinction,
    distinctions,
    measured_otherwise,
    recorded_in_some,
    seeds_of_one_configuration,
)
from claas.dashboard.pages import Addresses, render
from claas.results.comparison import (
    Difference,
    Direction,
    Final,
    Finals,
    ItemDifference,
    Spread,
    compare,
    compared,
    finals_of,
    having,
    item_differences,
    spread_over_seeds,
    value,
)
from claas.results.estimates import Estimate
from claas.results.keys import keys_of_schema_1, titles
from claas.results.manifest import Manifest
from claas.results.numbers import common_decimals
from claas.results.overview import last_measured
from claas.results.records import History, Metadata, Status
from claas.results.run_index import RunIndex, errors_named_after
from claas.results.statistics import Interval
from claas.results.summary import PreferenceSummary
from claas.results.verdict import Ruling

MOST_RUNS = 12
MOST_ITEMS = 20
"""Items of a set that two runs disagree on, of which the page shows both answers."""


def compare_page(runs: Sequence[RunIndex], addresses: Addresses) -> str:
    """HTML of the comparison with the first run; `InvalidInput` unless there are two or more different runs."""
    with errors_named_after(", ".join(run.name for run in runs)):
        return comparison_page([compared_run(run) for run in runs], overlaid(runs), addresses)


def require_comparable(names: Sequence[str]) -> None:
    """Raise `InvalidInput` unless these are two to twelve different runs; nothing is read for it."""
    if len(names) > MOST_RUNS:
        raise InvalidInput(f"at most {MOST_RUNS} runs can be compared at once, got {len(names)}")
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidInput(
            "a comparison needs two or more different runs: tick them in the list of runs, then compare; "
            f"asked for {', '.join(names) or 'none'}"
        )


@dataclass(frozen=True)
class ComparedRun:
    """A run by its folder's `name`; `summaries` are the verdicts that stand."""

    name: str
    manifest: Manifest
    confidence: float
    summaries: Mapping[str, PreferenceSummary]
    metadata: Mapping[str, Metadata]
    finals: Mapping[str, Finals]


def comparison_page(
    runs: Sequence[ComparedRun],
    shown: Charts,
    addresses: Addresses,
    *,
    template: str = "compare.html",
    most_items: int = MOST_ITEMS,
    **more: object,
) -> str:
    """HTML of a comparison, from what there is to compare and its charts; `more` is for another template."""
    return render(
        template,
        **more,
        compared=Comparison(runs),
        shown=shown,
        addresses=addresses,
        remarks=remarks,
        bar=bar,
        summary_of=summary_of,
        most_items=most_items,
    )


class Comparison:
    """Two or more different runs by letter, the first of which is the reference; other runs raise `InvalidInput`.

    Everything is compared at once, because p-values are adjusted for one another. Intervals are at the confidence of
    the first run's criteria.
    """

    def __init__(self, runs: Sequence[ComparedRun]) -> None:
        require_comparable([run.name for run in runs])
        self.runs = {letter_of(place): run for place, run in enumerate(runs)}
        self.confidence = runs[0].confidence
        self._finals: dict[str, list[Finals]] = {}
        for letter, run in self.runs.items():
            for preference, finals in run.finals.items():
                self._finals.setdefault(preference, []).append(replace(finals, label=letter))
        self.differences = compare(self.shared, self.confidence)
        self._items = item_differences(self.shared)

    @cached_property
    def shared(self) -> dict[str, list[Finals]]:
        """The preferences that two runs or more have, with what these measured last."""
        return {name: finals for name, finals in self._finals.items() if len(finals) > 1}

    @property
    def alone(self) -> dict[str, str]:
        """The preferences that only one run has, with its letter."""
        return {name: finals[0].label for name, finals in self._finals.items() if len(finals) == 1}

    @property
    def distinctions(self) -> list[Distinction]:
        """What the runs differ in besides their numbers."""
        return distinctions([run.manifest for run in self.runs.values()])

    @property
    def recorded_in_some(self) -> list[str]:
        """Packages and sources that not all runs have on record, each with the runs that do."""
        return [
            f"{each.name} {next(filter(None, each.values))} ({', '.join(self._with(each))})"
            for each in recorded_in_some([run.manifest for run in self.runs.values()])
        ]

    def _with(self, distinction: Distinction) -> list[str]:
        return [letter for letter, value in zip(self.runs, distinction.values, strict=True) if value is not None]

    def titled(self, preference: str, key: str) -> str:
        """A key as people write it."""
        return next(finals.keys[key].key.title for finals in self.shared[preference] if key in finals.keys)

    @property
    def titles(self) -> dict[str, str]:
        """Criteria and sets of items as people write them."""
        keys = [final.key for finals in self._finals.values() for each in finals for final in each.keys.values()]
        return titles((*keys_of_schema_1(), *keys))

    def without(self, name: str) -> list[str]:
        """The names of all runs but one."""
        return [run.name for run in self.runs.values() if run.name != name]

    @property
    def pairs(self) -> dict[tuple[str, str, str], list[Difference]]:
        """The differences of each preference, other run and reference."""
        pairs: dict[tuple[str, str, str], list[Difference]] = {}
        for difference in self.differences:
            pairs.setdefault((difference.preference, difference.other, difference.reference), []).append(difference)
        return pairs

    def warnings(self, preference: str) -> list[str]:
        """Why numbers of this preference may not be of the same measurement as in the first run that has it."""
        labels = [measured.label for measured in self.shared[preference]]
        (first, reference), *others = [(label, self.runs[label].metadata.get(preference)) for label in labels]
        return [
            f"{letter} against {first}: {words}"
            for letter, other in others
            if reference is not None and other is not None
            for words in measured_otherwise(reference, other)
        ]

    def tables(self, preference: str) -> list["KeyTable"]:
        """One table for each key that two runs or more measured."""
        tables: list[KeyTable] = []
        for key in compared(self.shared[preference]):
            finals = {one.label: one.keys[key] for one in having(self.shared[preference], key)}
            if len(finals) > 1:
                differences = {
                    difference.other: difference
                    for difference in self.differences
                    if (difference.preference, difference.key) == (preference, key)
                }
                estimates = {letter: value(final, self.confidence) for letter, final in finals.items()}
                table = KeyTable(key, finals, estimates, differences)
                spreads = (table.spread(seeds, self.confidence) for seeds in self._seeds(preference))
                tables.append(replace(table, spreads=[one for one in spreads if one is not None]))
        return tables

    def rulings(self, preference: str) -> dict[str, list[Ruling | None]]:
        """The ruling of each run that has the preference, by criterion; None where it has none."""
        summaries = [self.runs[measured.label].summaries.get(preference) for measured in self.shared[preference]]
        rulings = [summary.criteria if summary else dict[str, Ruling]() for summary in summaries]
        names = dict.fromkeys(name for of_run in rulings for name in of_run)
        return {name: [of_run.get(name) for of_run in rulings] for name in names}

    def items(self, preference: str) -> list[ItemDifference]:
        """The sets of items that two runs or more judged."""
        return [difference for difference in self._items if difference.preference == preference]

    def _seeds(self, preference: str) -> list[list[str]]:
        """The letters of runs that differ in seed alone, and measured this preference in the same way."""
        alike: dict[tuple[str | None, str | None], list[str]] = {}
        for letter, run in self.runs.items():
            if (metadata := run.metadata.get(preference)) is not None:
                alike.setdefault((metadata.preference_digest, metadata.metrics_digest), []).append(letter)
        return [
            [letters[place] for place in places]
            for letters in alike.values()
            for places in seeds_of_one_configuration([self.runs[letter].manifest for letter in letters])
        ]


@dataclass(frozen=True)
class SeedSpread:
    """The spread of a key over runs that differ in seed alone, all after so many `updates`."""

    letters: Sequence[str]
    updates: int
    values: Spread


@dataclass(frozen=True)
class KeyTable:
    """One key in every run that measured it, by letter; `differences` has none of the reference."""

    key: str
    finals: Mapping[str, Final]
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    spreads: Sequence[SeedSpread] = ()

    @property
    def decimals(self) -> int:
        """How many decimals every value in the table has."""
        return common_decimals(estimate.value for estimate in self.estimates.values() if estimate.value is not None)

    @property
    def reach(self) -> float:
        """How far from 0 the intervals of the differences reach."""
        intervals = [difference.interval for difference in self.differences.values() if difference.interval]
        return max((max(-interval.low, interval.high) for interval in intervals), default=0)

    def spread(self, letters: Iterable[str], confidence: float) -> SeedSpread | None:
        """The spread over those that came furthest: what was measured after fewer updates is something else."""
        measured = {letter: self.estimates[letter].value for letter in letters if letter in self.estimates}
        values = {letter: value for letter, value in measured.items() if value is not None}
        furthest = max((self.finals[letter].updates for letter in values), default=0)
        same = {letter: value for letter, value in values.items() if self.finals[letter].updates == furthest}
        spread = spread_over_seeds(list(same.values()), confidence)
        return SeedSpread(list(same), furthest, spread) if spread is not None and spread.n >= 3 else None


def letter_of(place: int) -> str:
    """A, B, C, ...; after Z the numbers from 27."""
    return chr(ord("A") + place) if place < 26 else str(place + 1)


def remarks(difference: Difference) -> Iterable[str]:
    """What the number leaves out, or why nothing can be told from it."""
    before, after = difference.updates
    if before != after:
        yield f"{difference.other} after {after} updates, {difference.reference} after {before}"
    without = {
        "in one run only": difference.alone,
        "asked, or scored, on another text": difference.unlike,
        "lost in one of the two": difference.lost,
    }
    listed = [f"{count} {why}" for why, count in without.items() if count]
    if listed:
        yield f"left out: {', '.join(listed)}"
    interval = difference.interval
    if difference.n and interval is None:
        yield "too few items for an interval"
    if difference.direction is Direction.UNCLEAR and interval and not interval.low <= 0 <= interval.high:
        yield f"0 is outside the interval, but this is one of {difference.family} comparisons (Holm)"


@dataclass(frozen=True)
class Bar:
    """A difference and its interval on a line whose middle is 0, in per cent of the line from its left."""

    low: float
    value: float
    high: float


def bar(difference: Difference, reach: float) -> Bar | None:
    """The bar of a difference, on a line that holds `reach` on either side; None where there is no interval."""
    if difference.interval is None or difference.value is None:
        return None

    def place(end: float) -> float:
        return round(50 + 48 * end / reach, 2) if reach else 50.0

    return Bar(place(difference.interval.low), place(difference.value), place(difference.interval.high))


def summary_of(difference: ItemDifference) -> str:
    """How many items pass in one run only."""
    changes, reference, other = difference.changes, difference.reference.label, difference.other.label
    if not changes.n:
        return "no item was asked alike in both"
    unjudged = f"; {len(changes.unmeasured)} not judged in both" if changes.unmeasured else ""
    if not changes.lost and not changes.gained:
        return f"of {changes.n} items none passes in one run only{unjudged}"
    return (
        f"of {changes.n} items {len(changes.lost)} pass in {reference} only and {len(changes.gained)} in {other} only "
        f"(McNemar’s exact p, adjusted by Holm: {changes.mcnemar_p_holm:.3g}){unjudged}"
    )


def compared_run(run: RunIndex) -> ComparedRun:
    """Settings, the verdicts that stand, and the last measurements with their transcripts."""
    judged = {name: summary for name in run.points if (summary := run.preference_summary(name)) is not None}
    return ComparedRun(
        name=run.name,
        manifest=run.manifest,
        confidence=run.config.confidence,
        summaries={name: summary for name, summary in judged.items() if summary.status is Status.COMPLETE},
        metadata={name: metadata for name, metadata in run.metadata.items() if metadata is not None},
        finals={name: finals_of(last_measured(run, name), run.name) for name in run.points},
    )


def overlaid(runs: Sequence[RunIndex]) -> Charts:
    """All runs' preferences in the same charts, each curve under its run's letter; criteria are the first run's."""
    owners = {id(history): run for run in runs for history in run.histories.values()}
    curves = {
        f"{letter_of(place)} {name}": history
        for place, run in enumerate(runs)
        for name, history in run.histories.items()
    }

    def interval(history: History, updates: int, criterion: str) -> Interval | None:
        return owners[id(history)].interval(history, updates, criterion)

    return charts_of(curves, runs[0].config.criteria, interval)
