"""Tables of final values: each run's with its interval, how far it is from the reference, and the spread over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claas.results.comparison import Difference, Disagreement, Final, Finals, Reading, spread_over_seeds, value
from claas.results.criteria import CHANGES, Estimate
from claas.results.items import ItemChanges
from claas.results.statistics import Interval

NOTHING = "–"
"""Stands where there is no number."""


def decimals(values: Iterable[float]) -> int:
    """How many fit numbers that stand together: three, or one when any is 10 or more."""
    return 3 if all(abs(value) < 10 for value in values) else 1


def number(value: float | None, places: int) -> str:
    """`0.250`, `−12.5`; a dash for None."""
    if value is None:
        return NOTHING
    text = f"{value:.{places}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def signed(value: float | None, places: int) -> str:
    """A difference: `+0.250`, `−12.5`, `0.000`."""
    text = number(value, places)
    return f"+{text}" if value is not None and round(value, places) > 0 else text


def span(interval: Interval | None, places: int) -> str:
    """`0.100 to 0.250`."""
    return f"{number(interval.low, places)} to {number(interval.high, places)}" if interval else NOTHING


def signed_span(interval: Interval | None, places: int) -> str:
    """`−0.100 to +0.250`."""
    return f"{signed(interval.low, places)} to {signed(interval.high, places)}" if interval else NOTHING


_SIGNS = {Reading.HIGHER: "▲", Reading.LOWER: "▼", Reading.EQUAL: "=", Reading.UNCLEAR: "?"}
_WORDS = {
    Reading.HIGHER: "higher",
    Reading.LOWER: "lower",
    Reading.EQUAL: "no item differs",
    Reading.UNCLEAR: "cannot tell",
}
_TELLING = (Reading.HIGHER, Reading.LOWER)


@dataclass(frozen=True)
class Bar:
    """A difference and its interval on a line whose middle is 0, in per cent of the line from its left."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class DifferenceCell:
    """How far a run is from the `reference`, over `n` shared items; `remarks` say what the number leaves out.

    `telling`: it is said to be higher or lower. `p` is adjusted for all comparisons of the page.
    """

    reference: str
    value: str
    interval: str
    sign: str
    reading: str
    telling: bool
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
    """One key in every run that measured it; `telling` when any is said to be higher or lower."""

    key: str
    telling: bool
    rows: tuple[ValueRow, ...]
    spreads: tuple[SeedSpread, ...]


@dataclass(frozen=True)
class InShort:
    """What `other` and `reference` differ in, in one preference: the findings, and a sentence on the rest."""

    preference: str
    other: str
    reference: str
    findings: tuple[str, ...]
    rest: str


def in_short(differences: Sequence[Difference]) -> tuple[InShort, ...]:
    """One for every pair of runs and preference, in the order given."""
    found: dict[tuple[str, str, str], list[Difference]] = {}
    for each in differences:
        found.setdefault((each.preference, each.other, each.reference), []).append(each)
    return tuple(InShort(*names, _findings(together), _rest(together)) for names, together in found.items())


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


def _findings(differences: Iterable[Difference]) -> tuple[str, ...]:
    telling = [each for each in differences if each.reading in _TELLING]
    return tuple(f"{each.key} is {each.reading.value} ({_written(each)})" for each in telling)


def _written(found: Difference) -> str:
    interval = found.interval
    places = decimals([interval.low, interval.high] if interval else [])
    return f"{signed(found.value, places)}, interval {signed_span(interval, places)}"


def _rest(differences: Sequence[Difference]) -> str:
    counts = {
        "cannot be told apart": sum(each.reading is Reading.UNCLEAR and each.n > 0 for each in differences),
        "the same in every item": sum(each.reading is Reading.EQUAL for each in differences),
        "not comparable": sum(each.n == 0 for each in differences),
    }
    listed = [f"{count} {words}" for words, count in counts.items() if count]
    return f"of {len(differences)} keys: {', '.join(listed)}" if listed else ""


def _table(
    key: str,
    runs: Mapping[str, Final],
    differences: Mapping[str, Difference],
    seeds: Sequence[Sequence[str]],
    confidence: float,
) -> KeyTable:
    measured = {label: value(final, confidence) for label, final in runs.items()}
    places = decimals(each.value for each in measured.values() if each.value is not None)
    reach = max(
        (max(-each.interval.low, each.interval.high) for each in differences.values() if each.interval), default=0
    )
    rows = [
        _row(label, runs[label], found, _cell(differences[label], reach) if label in differences else None, places)
        for label, found in measured.items()
    ]
    known = {label: found.value for label, found in measured.items() if found.value is not None}
    spreads = [
        _spread({label: known[label] for label in group if label in known}, runs, confidence, places) for group in seeds
    ]
    telling = any(each.reading in _TELLING for each in differences.values())
    return KeyTable(key, telling, tuple(rows), tuple(each for each in spreads if each is not None))


def _row(label: str, final: Final, found: Estimate, difference: DifferenceCell | None, places: int) -> ValueRow:
    return ValueRow(
        letter=label,
        updates=final.updates,
        value=number(found.value, places),
        interval=span(found.interval, places),
        n=found.n,
        note=found.note,
        difference=difference,
    )


def _cell(found: Difference, reach: float) -> DifferenceCell:
    places = decimals([reach])
    return DifferenceCell(
        reference=found.reference,
        value=signed(found.value, places),
        interval=signed_span(found.interval, places),
        sign=_SIGNS[found.reading] if found.n else NOTHING,
        reading=_WORDS[found.reading] if found.n else "nothing to compare",
        telling=found.reading in _TELLING,
        n=found.n,
        p=NOTHING if found.p_holm is None else f"{found.p_holm:.3g}",
        remarks=tuple(_remarks(found)),
        bar=_bar(found, reach),
    )


def _remarks(found: Difference) -> Iterable[str]:
    before, after = found.updates
    if before != after:
        yield f"{found.other} after {after} updates, {found.reference} after {before}"
    without = {
        "in one run only": found.alone,
        "asked, or scored, on another text": found.unlike,
        "lost in one of the two": found.lost,
    }
    listed = [f"{count} {why}" for why, count in without.items() if count]
    if listed:
        yield f"left out: {', '.join(listed)}"
    if found.n and found.interval is None:
        yield "too few items for an interval"
    if found.reading is Reading.UNCLEAR and found.interval and not found.interval.low <= 0 <= found.interval.high:
        yield f"0 is outside the interval, but this is one of {found.family} comparisons (Holm)"


def _bar(found: Difference, reach: float) -> Bar | None:
    if found.interval is None or found.value is None:
        return None

    def place(end: float) -> float:
        return round(50 + 48 * end / reach, 2) if reach else 50.0

    return Bar(place(found.interval.low), place(found.value), place(found.interval.high))


def _spread(
    values: Mapping[str, float], runs: Mapping[str, Final], confidence: float, places: int
) -> SeedSpread | None:
    """Over the runs that came furthest: what was measured after fewer updates is something else."""
    furthest = max((runs[label].updates for label in values), default=0)
    same = {label: each for label, each in values.items() if runs[label].updates == furthest}
    found = spread_over_seeds(list(same.values()), confidence)
    if found is None or found.n < 3:
        return None
    return SeedSpread(
        letters=tuple(same),
        updates=furthest,
        mean=number(found.mean, places),
        interval=span(found.interval, places) if found.interval else "no interval: so few equal values give none",
        deviation=number(found.deviation, places),
        reach=span(Interval(found.lowest, found.highest), places),
    )


_MOST_SHOWN = 20


@dataclass(frozen=True)
class SaidIn:
    """One run's answer, None where there is no text of it."""

    letter: str
    passed: bool
    answer: str | None


@dataclass(frozen=True)
class FlippedItem:
    """An item on which two runs disagree."""

    item: str
    prompt: str
    said: tuple[SaidIn, SaidIn]


@dataclass(frozen=True)
class Measurement:
    """Where all answers of one run are: what a link needs."""

    letter: str
    updates: int
    metric: str


@dataclass(frozen=True)
class FlipList:
    """The items of one set on which `other` disagrees with `reference`; `more` are not among those shown."""

    title: str
    summary: str
    reference: str
    other: str
    items: tuple[FlippedItem, ...]
    more: int
    measurements: tuple[Measurement, ...]


def flip_list(found: Disagreement) -> FlipList:
    """At most twenty items, and what is said of all."""
    changes, letters = found.changes, (found.reference.label, found.other.label)
    every = list(_alternating(changes))
    return FlipList(
        title=found.items.name.replace("_", "-"),
        summary=_summary(changes, *letters),
        reference=letters[0],
        other=letters[1],
        items=tuple(_item(name, changes, letters) for name in every[:_MOST_SHOWN]),
        more=max(0, len(every) - _MOST_SHOWN),
        measurements=tuple(
            Measurement(each.label, each.keys[found.items.key].updates, found.items.metric)
            for each in (found.reference, found.other)
        ),
    )


def _alternating(found: ItemChanges) -> Iterable[str]:
    """Lost and gained in turn, so that the few that are shown have some of both."""
    for place in range(max(len(found.lost), len(found.gained))):
        yield from found.lost[place : place + 1] + found.gained[place : place + 1]


def _summary(found: ItemChanges, reference: str, other: str) -> str:
    if not found.n:
        return "no item was asked alike in both"
    unjudged = f"; {len(found.unmeasured)} not judged in both" if found.unmeasured else ""
    if not found.lost and not found.gained:
        return f"of {found.n} items none passes in one run only{unjudged}"
    return (
        f"of {found.n} items {len(found.lost)} pass in {reference} only and {len(found.gained)} in {other} only "
        f"(McNemar’s exact p, adjusted by Holm: {found.mcnemar_p_holm:.3g}){unjudged}"
    )


def _item(name: str, found: ItemChanges, letters: tuple[str, str]) -> FlippedItem:
    answers, (reference, other) = found.answers[name], letters
    return FlippedItem(
        name,
        answers.prompt,
        (
            SaidIn(reference, name in found.lost, answers.before),
            SaidIn(other, name in found.gained, answers.after),
        ),
    )
