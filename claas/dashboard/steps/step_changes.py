"""What one measurement changed against the baseline: its numbers, and which items turned right or wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

from claas.dashboard.readable import readable
from claas.dashboard.steps.step_choice import Asked, Links
from claas.eval.history import flat
from claas.eval.records import Baseline, StepRecord, Transcript
from claas.eval.verdicts.items import ITEM_SETS, ItemSet, flips

_NAMED = 60


@dataclass(frozen=True)
class Value:
    """One number, None where it was due and not measured, and the baseline's."""

    key: str
    now: float | None
    before: float | None

    @property
    def change(self) -> float | None:
        """Since baseline, where both are known."""
        return None if self.now is None or self.before is None else self.now - self.before


@dataclass(frozen=True)
class Item:
    """An item by name, and where its transcript is."""

    name: str
    address: str | None


@dataclass(frozen=True)
class Turned:
    """`count` items that turned one way; the first of them by name."""

    count: int
    named: list[Item]

    @property
    def more(self) -> int:
        """How many are not named."""
        return self.count - len(self.named)


@dataclass(frozen=True)
class SetFlips:
    """How a set of `n` items compares with baseline; `unmeasured` ones have no verdict at one of the two."""

    name: str
    n: int
    gained: Turned
    lost: Turned
    unmeasured: int


def values(record: Baseline | StepRecord, baseline: Baseline | None) -> list[Value]:
    """The record's numbers in its order."""
    before = {} if baseline is None else flat(baseline.eval)
    return [Value(readable(key), value, before.get(key)) for key, value in flat(record.eval).items()]


def set_flips(baseline: Baseline, step: StepRecord, asked: Asked, links: Links) -> list[SetFlips]:
    """Every set of items that is judged and was measured at this step; a metric without sets of its own is one."""
    found: list[SetFlips] = []
    for items in (*ITEM_SETS, *_other_sets(step.rollouts)):
        change = flips(baseline.rollouts, _of(items, step.rollouts), items)
        if _of(items, step.rollouts):
            gained, lost = (_turned(items, names, asked, links) for names in (change.gained, change.lost))
            found.append(SetFlips(readable(items.name), change.n, gained, lost, len(change.unmeasured)))
    return found


def _other_sets(rollouts: Sequence[Transcript]) -> list[ItemSet]:
    """Metrics with verdicts that no set covers, such as a user's own."""
    covered = {items.metric for items in ITEM_SETS}
    judged = dict.fromkeys(each.metric for each in rollouts if each.verdict is not None)
    return [ItemSet(metric, metric, metric) for metric in judged if metric not in covered]


def _of(items: ItemSet, rollouts: Sequence[Transcript]) -> list[Transcript]:
    return [each for each in rollouts if each.metric == items.metric and each.item.startswith(items.prefix)]


def _turned(items: ItemSet, names: Sequence[str], asked: Asked, links: Links) -> Turned:
    named = [Item(readable(name), links(asked.of(metric=items.metric, item=name))) for name in names[:_NAMED]]
    return Turned(len(names), named)
