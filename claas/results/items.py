"""Which single items the training turned from right to wrong or from wrong to right, with both answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claas.results.criteria import CAPABILITY_KEY
from claas.results.records import History, Record, Transcript
from claas.results.statistics import mcnemar_exact

_LONGEST_ANSWER = 400
"""Characters of an answer that the summary shows; the records hold all of it."""


@dataclass(frozen=True)
class ItemSet:
    """Prompts that are judged right or wrong one by one: a metric's transcripts whose item starts with `prefix`.

    They are compared at the last step at which `key` was due.
    """

    name: str
    key: str
    metric: str
    prefix: str = ""


ITEM_SETS = (
    ItemSet("capability", CAPABILITY_KEY, "general"),
    ItemSet("heldout", "heldout_compliance", "compliance", "heldout/"),
    ItemSet("probe", "preference_compliance", "compliance", "probe/"),
    ItemSet("out_of_scope", "over_application_rate", "scope"),
)


class Answers(Record):
    """What was said to one prompt before any update and after the last, cut where it is long, and then saying so."""

    prompt: str
    before: str | None
    after: str | None


class ItemChanges(Record):
    """Items that passed only before (`lost`) and only after (`gained`), by id, with the `answers` of both.

    An item passes when its verifier says `passed`, the strict reading: a score between 0 and 1 does not. `unmeasured`
    items have no verdict at one of the two. `mcnemar_p`: that losses and gains are equally likely; `mcnemar_p_holm`
    is it, adjusted for the run's sets of items.
    """

    n: int
    lost: list[str]
    gained: list[str]
    unmeasured: list[str]
    mcnemar_p: float
    mcnemar_p_holm: float
    answers: dict[str, Answers]


def item_changes(history: History) -> dict[str, ItemChanges]:
    """The changes of every set that was measured after baseline, by the set's name; p-values are not adjusted yet."""
    due = {each: history.last_due(each.key) for each in ITEM_SETS}
    return {
        items.name: changes_between(history.rollouts(0), history.rollouts(updates), items)
        for items, updates in due.items()
        if updates is not None
    }


def changes_between(before: Sequence[Transcript], after: Sequence[Transcript], items: ItemSet) -> ItemChanges:
    """The changes of one set from one measurement to the other; the p-value is not adjusted yet."""
    found = flips(before, after, items)
    one, other = _by_item(before, items), _by_item(after, items)
    p = mcnemar_exact(len(found.lost), len(found.gained))
    return ItemChanges(
        n=found.n,
        lost=found.lost,
        gained=found.gained,
        unmeasured=found.unmeasured,
        mcnemar_p=p,
        mcnemar_p_holm=p,
        answers={item: _answers(one[item], other[item]) for item in (*found.lost, *found.gained)},
    )


@dataclass(frozen=True)
class Flips:
    """How the items of one set, by id, compare between two measurements: as `ItemChanges` has it."""

    n: int
    lost: list[str]
    gained: list[str]
    unmeasured: list[str]


def flips(before: Iterable[Transcript], after: Iterable[Transcript], items: ItemSet) -> Flips:
    """What became of a set of items from one measurement to the other; an item without a counterpart is unmeasured."""
    one, other = _by_item(before, items), _by_item(after, items)
    pairs = {item: (passed(one.get(item)), passed(other.get(item))) for item in {**one, **other}}
    return Flips(
        n=len(pairs),
        lost=[item for item, pair in pairs.items() if pair == (True, False)],
        gained=[item for item, pair in pairs.items() if pair == (False, True)],
        unmeasured=[item for item, pair in pairs.items() if None in pair],
    )


def passed(rollout: Transcript | None) -> bool | None:
    """What its verdict says, strictly read; None without one."""
    found = (rollout.verdict or {}).get("passed") if rollout else None
    return found if isinstance(found, bool) else None


def _by_item(rollouts: Iterable[Transcript], items: ItemSet) -> Mapping[str, Transcript]:
    return {
        rollout.item: rollout
        for rollout in rollouts
        if rollout.metric == items.metric and rollout.item.startswith(items.prefix)
    }


def _answers(before: Transcript, after: Transcript) -> Answers:
    return Answers(prompt=before.prompt, before=_shown(before.response), after=_shown(after.response))


def _shown(answer: str | None) -> str | None:
    if answer is None or len(answer) <= _LONGEST_ANSWER:
        return answer
    more = len(answer) - _LONGEST_ANSWER
    return f"{answer[:_LONGEST_ANSWER]} … [{more} more characters in the records]"
