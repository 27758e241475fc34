"""Items that pass in one run and fail in another, with both answers side by side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from claas.eval.verdicts.comparison import Finals, changed_between
from claas.eval.verdicts.items import ITEM_SETS, ItemChanges, ItemSet

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
class Flips:
    """The items of one set on which `other` disagrees with `reference`; `more` are not among those shown."""

    title: str
    summary: str
    reference: str
    other: str
    items: tuple[FlippedItem, ...]
    more: int
    measurements: tuple[Measurement, ...]


def flips_between(reference: Finals, other: Finals) -> tuple[Flips, ...]:
    """By set of items that both runs measured."""
    changes = changed_between(reference, other)
    sets = [(items, changes[items.name]) for items in ITEM_SETS if items.name in changes]
    return tuple(_flips(items, found, reference, other) for items, found in sets)


def _flips(items: ItemSet, found: ItemChanges, reference: Finals, other: Finals) -> Flips:
    passed_in = dict.fromkeys(found.lost, reference.label) | dict.fromkeys(found.gained, other.label)
    shown = list(_alternating(found))[:_MOST_SHOWN]
    return Flips(
        title=items.name.replace("_", "-"),
        summary=_summary(found, reference.label, other.label),
        reference=reference.label,
        other=other.label,
        items=tuple(_item(name, found, passed_in, (reference.label, other.label)) for name in shown),
        more=len(passed_in) - len(shown),
        measurements=tuple(
            Measurement(each.label, each.keys[items.key].updates, items.metric) for each in (reference, other)
        ),
    )


def _alternating(found: ItemChanges) -> Iterable[str]:
    """Lost and gained in turn, so that the few that are shown have some of both."""
    for place in range(max(len(found.lost), len(found.gained))):
        yield from found.lost[place : place + 1] + found.gained[place : place + 1]


def _summary(found: ItemChanges, reference: str, other: str) -> str:
    if not found.n:
        return "no item was asked alike in both"
    if not found.lost and not found.gained:
        return f"both runs pass and fail the same of {found.n} items"
    return (
        f"of {found.n} items {len(found.lost)} pass in {reference} only and {len(found.gained)} in {other} only "
        f"(McNemar's exact p, Holm over the sets: {found.mcnemar_p_holm:.2g})"
    )


def _item(name: str, found: ItemChanges, passed_in: Mapping[str, str], letters: tuple[str, str]) -> FlippedItem:
    answers = found.answers[name]
    first, second = (
        SaidIn(letter, passed_in[name] == letter, answer)
        for letter, answer in zip(letters, (answers.before, answers.after), strict=True)
    )
    return FlippedItem(name, answers.prompt, (first, second))
