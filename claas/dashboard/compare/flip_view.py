"""Items that pass in one run and fail in another, with both answers side by side."""

from collections.abc import Iterable
from dataclasses import dataclass

from claas.eval.verdicts.comparison import Disagreement
from claas.eval.verdicts.items import ItemChanges

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
