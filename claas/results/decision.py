"""KEEP, DISCARD or MIXED: what became of the scores of the same items, task by task. Pure functions.

A task is judged by the mean of its items' scores, paired by item, so that what the items differ in among themselves is
no noise. Right-or-wrong items are compared with half an item added to each of the four cells (Agresti & Min 2005,
"Simple improved confidence intervals for comparing matched proportions"): the interval keeps its level where few items
changed, and has a width where none did. Means of other scores have `means.mean_interval`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import Protocol

from claas.results.means import fewest_identical, mean_interval, mean_p, mean_p_at_most, needed_for_mean
from claas.results.records import Record
from claas.results.statistics import (
    Interval,
    above,
    holm,
    mcnemar_exact,
    normal_quantile,
    normal_tail,
    size_for_power,
)


@dataclass(frozen=True)
class PairedScores:
    """Scores in [0, 1] of the same items before and after, in one order; higher is better."""

    before: Sequence[float]
    after: Sequence[float]

    def __post_init__(self) -> None:
        if not self.before or len(self.before) != len(self.after):
            raise ValueError(f"pairs need equal lengths above 0, got {len(self.before)} and {len(self.after)}")
        if any(not 0 <= score <= 1 for score in (*self.before, *self.after)):
            raise ValueError("scores must be in [0, 1]")

    @property
    def differences(self) -> list[float]:
        """After less before, of every item."""
        return [after - before for before, after in zip(self.before, self.after, strict=True)]

    @property
    def are_right_or_wrong(self) -> bool:
        """Whether every score is 0 or 1."""
        return all(score in (0, 1) for score in (*self.before, *self.after))


class Outcome(StrEnum):
    """What became of one task. Kept: not worse by more than the margin. Undecided: these items cannot tell."""

    BETTER = "better"
    KEPT = "kept"
    UNDECIDED = "undecided"
    WORSE = "worse"


class Decision(StrEnum):
    """What to do with the candidate. Mixed: a person decides, or more items do."""

    KEEP = "KEEP"
    DISCARD = "DISCARD"
    MIXED = "MIXED"


class TaskChange(Record):
    """One task: means of its `n` items, their difference with its interval (two-sided), and what that comes to.

    `p_worse` is of the difference being -margin or more, `p_better` of it being 0 or less; both are one-sided and
    adjusted over the tasks (Holm 1979). `lost` and `gained` items, and McNemar's exact p-value of them, are there where
    every item is right or wrong. `needed` is how many items would decide an undecided task with probability .8, were
    the difference as found; None where it all but equals the margin, or too few items say how far they vary.
    """

    n: int
    before: float
    after: float
    difference: float
    ci: tuple[float, float] | None
    lost: int | None
    gained: int | None
    mcnemar_p: float | None
    p_worse: float
    p_better: float
    outcome: Outcome
    needed: int | None


class BenchmarkDecision(Record):
    """A candidate beside a baseline over the same items."""

    decision: Decision
    reason: str
    margin: float
    confidence: float
    tasks: dict[str, TaskChange]


def decide(tasks: Mapping[str, PairedScores], margin: float, confidence: float = 0.95) -> BenchmarkDecision:
    """Judge every task, then all together.

    A task is worse when it lost more than `margin` beyond doubt, better when it gained anything beyond doubt, each at
    half of 1 - `confidence` over all tasks together (Holm). It is kept when its interval lies above -margin: for
    KEEP all tasks have to be, which needs no adjustment (Berger 1982, intersection-union). DISCARD: some worse and
    none better. MIXED: worse and better, or none worse and some undecided. KEEP: all better or kept.
    """
    if not tasks:
        raise ValueError("a decision needs a task")
    tests = {task: paired_test(pairs) for task, pairs in tasks.items()}
    worse = dict(zip(tests, holm([test.p_at_least(-margin) for test in tests.values()]), strict=True))
    better = dict(zip(tests, holm([test.p_at_most(0.0) for test in tests.values()]), strict=True))
    changes = {
        task: _change(tasks[task], test, margin, confidence, worse[task], better[task], len(tests))
        for task, test in tests.items()
    }
    decision, reason = _together(changes)
    return BenchmarkDecision(decision=decision, reason=reason, margin=margin, confidence=confidence, tasks=changes)


class PairedDifference(Record):
    """Means of the same `n` items in two runs, their difference with its interval, and its two-sided p-value.

    `lost` and `gained` items are there where every item is right or wrong.
    """

    n: int
    before: float
    after: float
    difference: float
    ci: tuple[float, float] | None
    p: float
    lost: int | None
    gained: int | None

    @property
    def interval(self) -> Interval | None:
        """`ci`, None where there is none."""
        return None if self.ci is None else Interval(*self.ci)


def difference(pairs: PairedScores, confidence: float = 0.95) -> PairedDifference:
    """What changed, without a word on whether it matters."""
    test = paired_test(pairs)
    interval = test.interval(confidence)
    flips = _Flips.of(pairs) if pairs.are_right_or_wrong else None
    return PairedDifference(
        n=len(pairs.before),
        before=fmean(pairs.before),
        after=fmean(pairs.after),
        difference=fmean(pairs.differences),
        ci=None if interval is None else (interval.low, interval.high),
        p=min(1.0, 2 * min(test.p_at_least(0.0), test.p_at_most(0.0))),
        lost=flips and flips.lost,
        gained=flips and flips.gained,
    )


class TaskDelta(Record):
    """How far one task is from its baseline: `regressed` when it dropped by more than the tolerance.

    `confirmed` says that a regressed task's drop is beyond noise. `p` is the one-sided p-value of no drop at all,
    adjusted over the tasks (Holm 1979). `n_needed` is how many items would put such a drop beyond noise with
    probability .8; None where it is so already, or nothing regressed.
    """

    baseline: float
    value: float
    delta: float
    regressed: bool
    confirmed: bool
    p: float
    n_needed: int | None


def deltas(
    tasks: Mapping[str, PairedScores], tolerance: float | Mapping[str, float], confidence: float = 0.95
) -> dict[str, TaskDelta]:
    """Every task against its baseline, by the plain rule and by the test beside it; `tolerance` may be each task's own.

    The plain rule knows no noise: of six unchanged tasks with 100 items each, a tenth of which flip, some task drops by
    more than .05 in 22 % of runs, and in 27 % where the rule is written with floats, for which .60 - .55 is more than
    .05. With the test as well it is at most half of 1 - `confidence`.
    """
    level = (1 - confidence) / 2
    tests = {task: paired_test(pairs) for task, pairs in tasks.items()}
    p_values = holm([test.p_at_least(0.0) for test in tests.values()])
    found: dict[str, TaskDelta] = {}
    for (task, test), p in zip(tests.items(), p_values, strict=True):
        baseline, value = fmean(tasks[task].before), fmean(tasks[task].after)
        allowed = tolerance[task] if isinstance(tolerance, Mapping) else tolerance
        regressed = baseline - value > allowed + _ROUNDING
        confirmed = regressed and p < level
        found[task] = TaskDelta(
            baseline=baseline,
            value=value,
            delta=value - baseline,
            regressed=regressed,
            confirmed=confirmed,
            p=p,
            n_needed=test.needed(0.0, _of_family(confidence, len(tests))) if regressed and not confirmed else None,
        )
    return found


_ROUNDING = 1e-9  # .60 - .55 is no drop of more than .05


def _change(
    pairs: PairedScores, test: "PairedTest", margin: float, confidence: float, worse: float, better: float, family: int
) -> TaskChange:
    interval, level = test.interval(confidence), (1 - confidence) / 2
    if worse < level:
        outcome = Outcome.WORSE
    elif better < level:
        outcome = Outcome.BETTER
    else:
        outcome = Outcome.KEPT if interval is not None and interval.low > -margin else Outcome.UNDECIDED
    difference = fmean(pairs.differences)
    needed = None
    if outcome is Outcome.UNDECIDED:
        needed = test.needed(-margin, confidence if difference > -margin else _of_family(confidence, family))
    flips = _Flips.of(pairs) if pairs.are_right_or_wrong else None
    return TaskChange(
        n=len(pairs.before),
        before=fmean(pairs.before),
        after=fmean(pairs.after),
        difference=difference,
        ci=None if interval is None else (interval.low, interval.high),
        lost=flips and flips.lost,
        gained=flips and flips.gained,
        mcnemar_p=flips and mcnemar_exact(flips.lost, flips.gained),
        p_worse=worse,
        p_better=better,
        outcome=outcome,
        needed=needed,
    )


def _together(changes: Mapping[str, TaskChange]) -> tuple[Decision, str]:
    tasks = {outcome: [task for task, change in changes.items() if change.outcome is outcome] for outcome in Outcome}
    listed = {outcome: f"{outcome.value}: {', '.join(names)}" for outcome, names in tasks.items() if names}
    if tasks[Outcome.WORSE]:
        decision = Decision.MIXED if tasks[Outcome.BETTER] else Decision.DISCARD
        return decision, "; ".join(listed[outcome] for outcome in (Outcome.WORSE, Outcome.BETTER) if outcome in listed)
    if not tasks[Outcome.UNDECIDED]:
        return Decision.KEEP, "; ".join(listed[outcome] for outcome in (Outcome.BETTER, Outcome.KEPT) if tasks[outcome])
    return Decision.MIXED, "undecided: " + ", ".join(
        f"{task} ({_short_of(changes[task])})" for task in tasks[Outcome.UNDECIDED]
    )


def _short_of(change: TaskChange) -> str:
    if change.needed is None:
        return f"{change.n} items, and more would hardly tell"
    return f"{change.n} items of about {change.needed} needed"


def _of_family(confidence: float, family: int) -> float:
    """The confidence at which one of a family of tests is the first to be rejected (Holm 1979, Bonferroni)."""
    return 1 - (1 - confidence) / family


class PairedTest(Protocol):
    """What the mean difference of some pairs can be told to be."""

    def interval(self, confidence: float) -> Interval | None:
        """Its two-sided interval; None where these pairs give none."""
        ...

    def p_at_least(self, threshold: float) -> float:
        """One-sided p-value that it is `threshold` or more; 1 where nothing can be told."""
        ...

    def p_at_most(self, threshold: float) -> float:
        """One-sided p-value that it is `threshold` or less; 1 where nothing can be told."""
        ...

    def needed(self, threshold: float, confidence: float) -> int | None:
        """How many items would tell it from the threshold with probability `POWER`, were it as found."""
        ...


def paired_test(pairs: PairedScores) -> PairedTest:
    """The test that fits these scores."""
    return _Flips.of(pairs) if pairs.are_right_or_wrong else _Means(pairs.differences)


@dataclass(frozen=True)
class _Flips:
    """Of n right-or-wrong items, how many turned from right to wrong and from wrong to right."""

    lost: int
    gained: int
    n: int

    @classmethod
    def of(cls, pairs: PairedScores) -> "_Flips":
        differences = pairs.differences
        return cls(sum(each < 0 for each in differences), sum(each > 0 for each in differences), len(differences))

    @property
    def _mean(self) -> float:
        return (self.gained - self.lost) / (self.n + _ADDED)

    @property
    def _spread(self) -> float:
        """The standard deviation of one item's difference."""
        return math.sqrt((self.lost + self.gained + _ADDED / 2) / (self.n + _ADDED) - self._mean**2)

    @property
    def _error(self) -> float:
        return self._spread / math.sqrt(self.n + _ADDED)

    def interval(self, confidence: float) -> Interval:
        half = normal_quantile((1 + confidence) / 2) * self._error
        return Interval(max(-1.0, self._mean - half), min(1.0, self._mean + half))

    def p_at_least(self, threshold: float) -> float:
        return normal_tail((self._mean - threshold) / self._error)

    def p_at_most(self, threshold: float) -> float:
        return normal_tail((threshold - self._mean) / self._error)

    def needed(self, threshold: float, confidence: float) -> int | None:
        distance = self._mean - threshold
        if abs(distance) < _ROUNDING:
            return None
        return max(1, above(size_for_power(self._spread, self._spread, distance, confidence)) - _ADDED)


_ADDED = 2
"""Items: half of one in each of the four cells."""


@dataclass(frozen=True)
class _Means:
    """The differences of scores between 0 and 1."""

    differences: Sequence[float]

    def interval(self, confidence: float) -> Interval | None:
        return mean_interval(self.differences, confidence)

    def p_at_least(self, threshold: float) -> float:
        p = mean_p(self.differences, threshold)
        return 1.0 if p is None else p

    def p_at_most(self, threshold: float) -> float:
        p = mean_p_at_most(self.differences, threshold)
        return 1.0 if p is None else p

    def needed(self, threshold: float, confidence: float) -> int | None:
        if len(self.differences) == 1:
            return fewest_identical(confidence)
        found = needed_for_mean(self.differences, threshold, confidence)
        return None if found is None else max(found, len(self.differences) + 1)
