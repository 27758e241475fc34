"""Which single items the training turned from right to wrong or from wrong to right, with both answers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claas.results.evidence import item_of
from claas.results.keys import Items, sets_of_items
from claas.results.records import History, Record, Transcript
from claas.results.statistics import mcnemar_exact

_LONGEST_ANSWER = 400
"""Characters of an answer that the summary shows; the records hold all of it."""


class Answers(Record):
    """What was said to one prompt before any update and after the last, cut where it is long, and then saying so."""

    prompt: str
    before: str | None
    after: str | None


class ItemChanges(Record):
    """Items that passed only before (`lost`) and only after (`gained`), by id, with the `answers` of both.

    An item passes when its verifier says `passed`, the strict reading: a score between 0 and 1 does not; one that was
    asked in several wordings passes in all of them. `unmeasured` items have no verdict at one of the two.
    `mcnemar_p`: that losses and gains are equally likely; `mcnemar_p_holm` is it, adjusted for the run's sets of items.
    """

    n: int
    lost: list[str]
    gained: list[str]
    unmeasured: list[str]
    mcnemar_p: float
    mcnemar_p_holm: float
    answers: dict[str, Answers]


def item_changes(history: History) -> dict[str, ItemChanges]:
    """The changes of every set that was measured after baseline, by the set's name, at the last step at which it was
    due; p-values are not adjusted yet."""
    due = {items: history.last_due(key.key) for key, items in sets_of_items(history.keys)}
    return {
        str(items.flips): changes_between(history.rollouts(0), history.rollouts(updates), items)
        for items, updates in due.items()
        if updates is not None
    }


def changes_between(before: Sequence[Transcript], after: Sequence[Transcript], items: Items) -> ItemChanges:
    """The changes of one set from one measurement to the other; the p-value is not adjusted yet."""
    changed = flips(before, after, items)
    one, other = _by_item(before, items), _by_item(after, items)
    p = mcnemar_exact(len(changed.lost), len(changed.gained))
    return ItemChanges(
        n=changed.n,
        lost=changed.lost,
        gained=changed.gained,
        unmeasured=changed.unmeasured,
        mcnemar_p=p,
        mcnemar_p_holm=p,
        answers={item: _answers(one[item], other[item]) for item in (*changed.lost, *changed.gained)},
    )


@dataclass(frozen=True)
class Flips:
    """How the items of one set, by id, compare between two measurements: as `ItemChanges` has it."""

    n: int
    lost: list[str]
    gained: list[str]
    unmeasured: list[str]


def flips(before: Iterable[Transcript], after: Iterable[Transcript], items: Items) -> Flips:
    """What became of a set of items from one measurement to the other; an item without a counterpart is unmeasured."""
    one, other = _by_item(before, items), _by_item(after, items)
    pairs = {item: (_all_passed(one.get(item, ())), _all_passed(other.get(item, ()))) for item in {**one, **other}}
    return Flips(
        n=len(pairs),
        lost=[item for item, pair in pairs.items() if pair == (True, False)],
        gained=[item for item, pair in pairs.items() if pair == (False, True)],
        unmeasured=[item for item, pair in pairs.items() if None in pair],
    )


def passed(rollout: Transcript | None) -> bool | None:
    """What its verdict says, strictly read; None without one."""
    verdict = (rollout.verdict or {}).get("passed") if rollout else None
    return verdict if isinstance(verdict, bool) else None


def _all_passed(wordings: Sequence[Transcript]) -> bool | None:
    """False as soon as one did not; None where none did not and one has no verdict."""
    verdicts = [passed(rollout) for rollout in wordings] or [None]
    return False if False in verdicts else None if None in verdicts else True


def _by_item(rollouts: Iterable[Transcript], items: Items) -> Mapping[str, Sequence[Transcript]]:
    """The transcripts of each item, one for each wording; of given texts to choose from, that of the likeliest."""
    found: dict[str, list[Transcript]] = {}
    for rollout in rollouts:
        name = item_of(rollout, items)
        if name is not None:
            found.setdefault(name, []).append(rollout)
    if items.value in ("mean_score", "mean_missed"):
        return found
    return {name: [max(reversed(texts), key=_nats)] for name, texts in found.items()}


def _nats(rollout: Transcript) -> float:
    return math.fsum(rollout.logprobs or ())


def _answers(wordings_before: Sequence[Transcript], wordings_after: Sequence[Transcript]) -> Answers:
    """Those to the first wording in which the verdict changed."""
    now = {rollout.item: rollout for rollout in wordings_after}
    pairs = [(before, now[before.item]) for before in wordings_before if before.item in now]
    changed = (pair for pair in pairs if passed(pair[0]) != passed(pair[1]))
    before, after = next(changed, (wordings_before[0], wordings_after[0]))
    return Answers(prompt=before.prompt, before=_shown(before.response), after=_shown(after.response))


def _shown(answer: str | None) -> str | None:
    if answer is None or len(answer) <= _LONGEST_ANSWER:
        return answer
    more = len(answer) - _LONGEST_ANSWER
    return f"{answer[:_LONGEST_ANSWER]} … [{more} more characters in the records]"
