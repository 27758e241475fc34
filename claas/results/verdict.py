"""Whether a preference stuck, and what it cost: pass, fail or inconclusive, from intervals and never from a bare point.

Each criterion is judged at the declared checkpoint. **Pass** asks that every criterion passes, so its chance of a false
pass is at most that of one criterion, and nothing is corrected (intersection-union test, Berger 1982). **Fail** asks
that any fails, in any preference, so its chance of a false fail would grow with their number: a criterion fails only
if its interval lies on the bad side of the threshold and its p-value, adjusted over all criteria of all preferences of
the run (Holm 1979), is within the level of one side of the interval, (1 - confidence) / 2. The chance that a run in
which every criterion is met is said to fail anywhere is then at most that level, however the criteria hang together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from claas.results.estimates import Estimate, change_interval, estimate, formula_of, threshold_of
from claas.results.items import ItemChanges, item_changes
from claas.results.keys import Criterion, Key, Role, judged, with_role
from claas.results.means import fewest_identical
from claas.results.records import History, Record, Status
from claas.results.settings import CONFIDENCE, confidence_of
from claas.results.statistics import POWER, Interval, holm


@dataclass(frozen=True)
class Family:
    """`size` is how many criteria the planned run judges; `adjusted` holds Holm's p-values of those tested so far, by
    preference and criterion. A fail stands when its adjusted p-value is at most `level`.
    """

    size: int
    confidence: float
    adjusted: Mapping[tuple[str, str], float]

    @classmethod
    def of(cls, p_values: Mapping[tuple[str, str], float], size: int, confidence: float) -> "Family":
        """Adjust what was tested; the rest of the family counts as never rejected."""
        adjusted = holm(list(p_values.values()), max(size, len(p_values)))
        return cls(size, confidence, dict(zip(p_values, adjusted, strict=True)))

    @property
    def level(self) -> float:
        """The chance of any false fail: that of one interval on one of its sides."""
        return (1 - self.confidence) / 2

    @property
    def strictest(self) -> float:
        """The confidence that one interval needs to fail whatever the others show (Bonferroni, Holm's first step)."""
        return 1 - (1 - self.confidence) / max(1, self.size)


_OF_RUN = frozenset({CONFIDENCE, "bwt"})
"""What `criteria` says of the run as a whole, and of no preference by itself."""


class Verdict(StrEnum):
    """What an interval says about a threshold; inconclusive when it lies on both sides, or is missing."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Ruling(Record):
    """One criterion: the estimate with its interval, the threshold, and what follows. `relation` is what must hold.

    `n` counts the items, pairs or prompts behind the interval. `value`, `ci` and `p` are None where nothing was
    measured; `ci` and `p` also where too little was. `p` is one-sided, of the criterion being met: small when it is
    not. `p_holm` is it, adjusted over the run's criteria; None also before the declared checkpoint.
    """

    value: float | None
    ci: tuple[float, float] | None
    relation: str
    threshold: float
    n: int
    p: float | None
    p_holm: float | None
    verdict: Verdict
    formula: str
    note: str | None = None

    @property
    def interval(self) -> Interval | None:
        """Its ends, as an interval."""
        return self.ci and Interval(*self.ci)


class Judgement(Record):
    """One preference's verdict. `not_measured` names the criteria whose metric was not part of the run, or had nothing
    to measure them by, as held-out compliance without held-out prompts.

    `changed_items` holds, by set of prompts, which of them the training turned right or wrong.
    """

    verdict: Verdict
    reason: str
    criteria: dict[str, Ruling]
    not_measured: list[str]
    changed_items: dict[str, ItemChanges]


NOTHING_TO_FORGET = "nothing to forget: the first wish is not shown to be learned before the flip"
"""The note of a criterion that does not pass for this reason, though the numbers would."""


def judge(history: History, criteria: Mapping[str, float]) -> Judgement:
    """Judge a run of one preference. `criteria` are thresholds in place of the declared ones, and the confidence."""
    return judge_run([history], criteria, planned=1)[0]


def judge_run(
    histories: Sequence[History],
    criteria: Mapping[str, float],
    planned: int,
    flips_at: Mapping[str, int | None] | None = None,
) -> list[Judgement]:
    """Judge the preferences of a run that plans this many, from their records. `flips_at` says by preference after how
    many updates its user changes their mind.

    One that is running or failed is inconclusive whatever its records show. It counts in the family all the same, as
    do those that have not started: what is said to fail while a run goes on still fails at its end.
    """
    by_history = [_estimates(history, criteria) for history in histories]
    family = _family(histories, by_history, confidence_of(criteria), planned)
    return [
        _unless_nothing_was_learned(
            _judgement(history, estimates, items, criteria, family),
            history,
            (flips_at or {}).get(history.preference),
            family.confidence,
        )
        for history, estimates, items in zip(histories, by_history, _items(histories, planned), strict=True)
    ]


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """Fail if any fails, pass if there is one and all pass, else inconclusive."""
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts and set(verdicts) == {Verdict.PASS} else Verdict.INCONCLUSIVE


def _estimates(history: History, criteria: Mapping[str, float]) -> dict[str, Estimate]:
    """The estimate of every criterion whose metric was part of the run, by the criterion's name."""
    known = set(history.known_keys())
    return {
        criterion.name: _estimate(key, threshold_of(criterion, criteria), history, confidence_of(criteria))
        for key, criterion in judged(history.keys)
        if key.key in known
    }


def _estimate(key: Key, threshold: float, history: History, confidence: float) -> Estimate:
    """The estimate at the last step at which the key was due."""
    updates = history.last_due(key.key)
    if updates is None:
        return Estimate(None, None, None, 0, note="no step was measured")
    return estimate(key, history.rollouts(updates), history.rollouts(0), threshold, confidence)


def _family(
    histories: Sequence[History], by_history: Sequence[Mapping[str, Estimate]], confidence: float, planned: int
) -> Family:
    """What has no p-value, or is not at the declared checkpoint, rejects nothing."""
    p_values = {
        (history.preference, name): estimate.p
        for history, estimates in zip(histories, by_history, strict=True)
        for name, estimate in estimates.items()
        if estimate.p is not None and history.status is Status.COMPLETE
    }
    most = max((len(estimates) for estimates in by_history), default=0)
    return Family.of(p_values, planned * most, confidence)


def _items(histories: Sequence[History], planned: int) -> list[dict[str, ItemChanges]]:
    """Changes of items by set, their p-values adjusted over all sets of all preferences."""
    by_history = [item_changes(history) for history in histories]
    every = [(place, name) for place, changes in enumerate(by_history) for name in changes]
    most = max((len(changes) for changes in by_history), default=0)
    adjusted = holm([by_history[place][name].mcnemar_p for place, name in every], max(len(every), planned * most))
    for (place, name), p in zip(every, adjusted, strict=True):
        by_history[place][name] = by_history[place][name].model_copy(update={"mcnemar_p_holm": p})
    return by_history


def _judgement(
    history: History,
    estimates: Mapping[str, Estimate],
    items: dict[str, ItemChanges],
    criteria: Mapping[str, float],
    family: Family,
) -> Judgement:
    rulings = {
        criterion.name: _rule(
            key, criterion, estimates[criterion.name], threshold_of(criterion, criteria), history, family
        )
        for key, criterion in judged(history.keys)
        if criterion.name in estimates
    }
    verdict, reason = _overall(history, rulings)
    known = [*(criterion.name for _, criterion in judged(history.keys)), *criteria]
    return Judgement(
        verdict=verdict,
        reason=reason,
        criteria=rulings,
        not_measured=[name for name in dict.fromkeys(known) if name not in estimates and name not in _OF_RUN],
        changed_items=items,
    )


def _unless_nothing_was_learned(
    judgement: Judgement, history: History, flips_at: int | None, confidence: float
) -> Judgement:
    """Where the first wish was never learned, compliance with its opposite shows no changed mind: it does not pass."""
    first, opposite = (with_role(history.keys, role) for role in (Role.FIRST_WISH, Role.LEARNED))
    ruling = judgement.criteria.get(opposite.criterion.name) if opposite and opposite.criterion else None
    if flips_at is None or first is None or ruling is None or ruling.verdict is not Verdict.PASS:
        return judgement
    gained = change_interval(first, history.rollouts(flips_at), history.rollouts(0), confidence)
    if gained is not None and gained.low > 0:
        return judgement
    held_back = ruling.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "note": NOTHING_TO_FORGET})
    rulings = {name: held_back if each is ruling else each for name, each in judgement.criteria.items()}
    verdict, reason = _overall(history, rulings)
    return judgement.model_copy(
        update={"criteria": rulings, "verdict": verdict, "reason": f"{reason}: {NOTHING_TO_FORGET}"}
    )


def _rule(
    key: Key, criterion: Criterion, estimate: Estimate, threshold: float, history: History, family: Family
) -> Ruling:
    verdict, notes = side(criterion.relation, estimate.interval, threshold), [criterion.note, estimate.note]
    p_holm = family.adjusted.get((history.preference, criterion.name))
    if history.status is not Status.COMPLETE:
        verdict = Verdict.INCONCLUSIVE
        notes.append(f"{len(history.steps)} of {history.planned_steps} steps done: not the declared checkpoint")
    else:
        if verdict is Verdict.FAIL and not (p_holm is not None and p_holm <= family.level):
            verdict = Verdict.INCONCLUSIVE
            notes.append(f"beyond the threshold, but not as one of the run's {family.size} criteria (Holm)")
        if verdict is Verdict.INCONCLUSIVE:
            notes.append(_needs(criterion.relation, estimate, threshold, family))
    return Ruling(
        value=estimate.value,
        ci=(estimate.interval.low, estimate.interval.high) if estimate.interval else None,
        relation=criterion.relation,
        threshold=threshold,
        n=estimate.n,
        p=estimate.p,
        p_holm=p_holm,
        verdict=verdict,
        formula=formula_of(key),
        note="; ".join(note for note in notes if note) or None,
    )


def side(relation: str, interval: Interval | None, threshold: float) -> Verdict:
    """On which side of the threshold the interval lies."""
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


def _needs(relation: str, estimate: Estimate, threshold: float, family: Family) -> str | None:
    """How many would conclude: at the interval's level towards a pass, at the family's towards a fail."""
    if estimate.n == 0 or estimate.value is None:
        return None
    if estimate.interval is None and estimate.n == 1:
        return "a single measurement has no spread, needs n ≥ 2"
    if estimate.interval is None:
        return f"all {estimate.n} are equal, needs n ≥ {fewest_identical(family.confidence)}"
    met = estimate.value < threshold if relation == "<" else estimate.value >= threshold
    needed = estimate.needed(family.confidence if met else family.strictest)
    if needed is None or needed <= estimate.n:
        return None if estimate.note else f"{estimate.n} are too few, or too close to the threshold, to call"
    return f"needs n ≥ {needed} to conclude with probability {POWER:g}, if the truth is as estimated"


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
    notes = [f"; {each.name} is {each.note}" for _, each in judged(history.keys) if each.note and each.name in rulings]
    if verdict is Verdict.PASS:
        return verdict, f"all {len(rulings)} criteria measured pass{''.join(notes)}"
    names = [name for name, ruling in rulings.items() if ruling.verdict is verdict]
    return verdict, f"{'failed' if verdict is Verdict.FAIL else 'undecided'}: {', '.join(names)}{''.join(notes)}"
