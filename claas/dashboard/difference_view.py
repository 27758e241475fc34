"""Tables of final values: each run's with its interval, how far it is from the reference, and the spread over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claas.dashboard.written_numbers import NOTHING, number, signed, signed_span, span
from claas.eval.verdicts.comparison import Difference, Final, Finals, Reading, spread_over_seeds, value
from claas.eval.verdicts.criteria import CHANGES

_WORDS = {
    Reading.HIGHER: "▲ higher",
    Reading.LOWER: "▼ lower",
    Reading.EQUAL: "= no item differs",
    Reading.UNCLEAR: "? cannot tell",
}


@dataclass(frozen=True)
class Bar:
    """A difference and its interval on a line whose middle is 0, in per cent of the line from its left."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class DifferenceCell:
    """How far a run is from the `reference`, over `n` shared items; `remarks` say what the number leaves out."""

    reference: str
    value: str
    interval: str
    reading: str
    n: int
    p: str
    remarks: tuple[str, ...]
    bar: Bar | None


@dataclass(frozen=True)
class ValueRow:
    """One run's final value of a key; `difference` is None for the reference itself."""

    letter: str
    updates: int
    value: str
    interval: str
    n: int
    note: str | None
    difference: DifferenceCell | None


@dataclass(frozen=True)
class SeedSpread:
    """The spread of a key over runs that differ in seed alone."""

    letters: tuple[str, ...]
    updates: int
    mean: str
    interval: str
    deviation: str
    reach: str


@dataclass(frozen=True)
class KeyTable:
    """One key in every run that measured it."""

    key: str
    rows: tuple[ValueRow, ...]
    spreads: tuple[SeedSpread, ...]


def key_tables(
    finals: Sequence[Finals], differences: Iterable[Difference], seeds: Sequence[Sequence[str]], confidence: float
) -> tuple[KeyTable, ...]:
    """One preference's tables, of keys that two runs or more measured. `seeds` has the labels of runs that differ in
    seed alone."""
    found: dict[str, dict[str, Difference]] = {}
    for each in differences:
        found.setdefault(each.key, {})[each.other] = each
    having = {key: {each.label: each.keys[key] for each in finals if key in each.keys} for key in CHANGES}
    return tuple(
        _table(key, runs, found.get(key, {}), seeds, confidence) for key, runs in having.items() if len(runs) > 1
    )


def _table(
    key: str,
    runs: Mapping[str, Final],
    differences: Mapping[str, Difference],
    seeds: Sequence[Sequence[str]],
    confidence: float,
) -> KeyTable:
    measured = {label: value(final, key, confidence) for label, final in runs.items()}
    ends = [
        abs(end) for each in differences.values() if each.interval for end in (each.interval.low, each.interval.high)
    ]
    reach = max(ends, default=0.0)
    rows = [
        ValueRow(
            letter=label,
            updates=runs[label].updates,
            value=number(found.value),
            interval=span(found.interval.low, found.interval.high) if found.interval else NOTHING,
            n=found.n,
            note=found.note,
            difference=_cell(differences[label], confidence, reach) if label in differences else None,
        )
        for label, found in measured.items()
    ]
    known = {label: found.value for label, found in measured.items() if found.value is not None}
    spreads = [_spread({label: known[label] for label in group if label in known}, runs, confidence) for group in seeds]
    return KeyTable(key, tuple(rows), tuple(each for each in spreads if each is not None))


def _cell(found: Difference, confidence: float, reach: float) -> DifferenceCell:
    return DifferenceCell(
        reference=found.reference,
        value=signed(found.value),
        interval=signed_span(found.interval.low, found.interval.high) if found.interval else NOTHING,
        reading=_WORDS[found.reading],
        n=found.n,
        p=NOTHING if found.p_holm is None else f"{found.p_holm:.2g}",
        remarks=tuple(_remarks(found, confidence)),
        bar=_bar(found, reach),
    )


def _remarks(found: Difference, confidence: float) -> Iterable[str]:
    before, after = found.updates
    if before != after:
        yield f"after {after} updates here, {before} there"
    without = {
        "in one run only": found.alone,
        "asked or scored something else in the other": found.unlike,
        "lost in one of the two": found.lost,
    }
    listed = [f"{count} {why}" for why, count in without.items() if count]
    if listed:
        yield f"not compared: {', '.join(listed)}"
    if found.n == 0:
        yield "nothing to compare"
    elif found.interval is None:
        yield "too few items for an interval"
    elif found.reading is Reading.UNCLEAR and not found.interval.low <= 0 <= found.interval.high:
        yield f"0 is outside the interval, but this is one of {found.family} comparisons (Holm)"


def _bar(found: Difference, reach: float) -> Bar | None:
    if found.interval is None or found.value is None:
        return None

    def place(end: float) -> float:
        return round(50 + 48 * end / reach, 2) if reach else 50.0

    return Bar(place(found.interval.low), place(found.value), place(found.interval.high))


def _spread(values: Mapping[str, float], runs: Mapping[str, Final], confidence: float) -> SeedSpread | None:
    """Over the runs that came furthest: what was measured after fewer updates is something else."""
    furthest = max((runs[label].updates for label in values), default=0)
    same = {label: each for label, each in values.items() if runs[label].updates == furthest}
    found = spread_over_seeds(list(same.values()), confidence)
    if found is None or found.n < 3:
        return None
    return SeedSpread(
        letters=tuple(same),
        updates=furthest,
        mean=number(found.mean),
        interval=span(found.interval.low, found.interval.high) if found.interval else NOTHING,
        deviation=number(found.deviation),
        reach=span(found.lowest, found.highest),
    )
