"""Whether a preference stuck, and what it cost: pass, fail or inconclusive, from intervals and never from a bare point.

Each criterion is judged alone at the declared checkpoint. The verdict passes only when every criterion does, so its
chance of a false pass is at most that of one criterion (intersection-union test, Berger 1982): no correction is due.
"""

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum

from claas.eval.history import History, Status
from claas.eval.records import Record
from claas.eval.types import Criteria
from claas.eval.verdicts.criteria import CAPABILITY_KEY, CRITERIA, Criterion, Estimate, capability_scores
from claas.eval.verdicts.statistics import Interval, fewest_identical, mcnemar_exact


class Verdict(StrEnum):
    """What an interval says about a threshold; inconclusive when it lies on both sides, or is missing."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Ruling(Record):
    """One criterion: the estimate with its interval, the threshold, and what follows. `relation` is what must hold.

    `n` counts the items, pairs or prompts behind the interval. `value` and `ci` are None where nothing was measured;
    `ci` alone is None where too little was.
    """

    value: float | None
    ci: tuple[float, float] | None
    relation: str
    threshold: float
    n: int
    verdict: Verdict
    formula: str
    note: str | None = None


class ItemChanges(Record):
    """Capability items that the training changed, by id. `mcnemar_p`: that losses and gains are equally likely."""

    lost: list[str]
    gained: list[str]
    unmeasured: list[str]
    mcnemar_p: float


class Judgement(Record):
    """One preference's verdict. `not_measured` names the criteria whose metric was not part of the run."""

    verdict: Verdict
    reason: str
    criteria: dict[str, Ruling]
    not_measured: list[str]
    capability_items: ItemChanges | None


def judge(history: History, criteria: Criteria) -> Judgement:
    """Judge one preference from its records; one that is running or failed is inconclusive whatever they show."""
    known = set(history.known_keys())
    rulings = {each.name: _rule(each, history, criteria) for each in CRITERIA if each.key in known}
    verdict, reason = _overall(history, rulings)
    return Judgement(
        verdict=verdict,
        reason=reason,
        criteria=rulings,
        not_measured=[each.name for each in CRITERIA if each.key not in known],
        capability_items=_item_changes(history),
    )


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """Fail if any fails, pass if there is one and all pass, else inconclusive."""
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts and set(verdicts) == {Verdict.PASS} else Verdict.INCONCLUSIVE


def _rule(criterion: Criterion, history: History, criteria: Criteria) -> Ruling:
    """The ruling at the last step at which the criterion's key was due."""
    threshold = float(asdict(criteria)[criterion.name])
    updates = history.last_due(criterion.key)
    if updates is None:
        found = Estimate(None, None, 0, None, "no step was measured")
    else:
        found = criterion.estimate(history.rollouts(updates), history.rollouts(0), threshold, criteria.confidence)
    verdict = _side(criterion.relation, found.interval, threshold)
    notes = [found.note]
    if history.status is not Status.COMPLETE:
        verdict = Verdict.INCONCLUSIVE
        notes.append(f"{len(history.steps)} of {history.planned_steps} steps done: not the declared checkpoint")
    elif verdict is Verdict.INCONCLUSIVE:
        notes.append(_needs(found, criteria.confidence))
    return Ruling(
        value=found.value,
        ci=(found.interval.low, found.interval.high) if found.interval else None,
        relation=criterion.relation,
        threshold=threshold,
        n=found.n,
        verdict=verdict,
        formula=criterion.formula,
        note="; ".join(note for note in notes if note) or None,
    )


def _side(relation: str, interval: Interval | None, threshold: float) -> Verdict:
    if interval is None:
        return Verdict.INCONCLUSIVE
    low, high = interval.low, interval.high
    good, bad = {
        ">=": (low >= threshold, high < threshold),
        ">": (low > threshold, high <= threshold),
        "<": (high < threshold, low >= threshold),
    }[relation]
    if good:
        return Verdict.PASS
    return Verdict.FAIL if bad else Verdict.INCONCLUSIVE


def _needs(found: Estimate, confidence: float) -> str | None:
    if found.n == 0:
        return None
    if found.interval is None and found.n == 1:
        return "one has no spread, needs n ≥ 2"
    if found.interval is None:
        return f"all {found.n} are equal, needs n ≥ {fewest_identical(confidence)}"
    if found.needed is None or found.needed <= found.n:
        return None if found.note else "too close to the threshold to call"
    return f"needs n ≥ {found.needed} to conclude, if they came out alike"


def _overall(history: History, rulings: dict[str, Ruling]) -> tuple[Verdict, str]:
    if history.failure is not None:
        return (
            Verdict.INCONCLUSIVE,
            f"ended after {len(history.steps)} of {history.planned_steps} steps: {history.failure}",
        )
    if history.status is Status.RUNNING:
        return Verdict.INCONCLUSIVE, f"running: {len(history.steps)} of {history.planned_steps} steps done"
    if not rulings:
        return Verdict.INCONCLUSIVE, "no criterion was measured"
    verdict = combine([ruling.verdict for ruling in rulings.values()])
    if verdict is Verdict.PASS:
        return verdict, f"all {len(rulings)} criteria measured pass"
    names = [name for name, ruling in rulings.items() if ruling.verdict is verdict]
    return verdict, f"{'failed' if verdict is Verdict.FAIL else 'undecided'}: {', '.join(names)}"


def _item_changes(history: History) -> ItemChanges | None:
    updates = history.last_due(CAPABILITY_KEY)
    if updates is None:
        return None
    before, after = capability_scores(history.rollouts(0)), capability_scores(history.rollouts(updates))
    pairs = {item: (before.get(item), after.get(item)) for item in {**before, **after}}
    lost = [item for item, pair in pairs.items() if pair == (1.0, 0.0)]
    gained = [item for item, pair in pairs.items() if pair == (0.0, 1.0)]
    return ItemChanges(
        lost=lost,
        gained=gained,
        unmeasured=[item for item, pair in pairs.items() if None in pair],
        mcnemar_p=mcnemar_exact(len(lost), len(gained)),
    )
