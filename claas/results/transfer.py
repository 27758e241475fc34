"""What learning one preference after the other on one adapter did to each of them: the matrix R and its numbers.

R[i][j] is the held-out compliance with preference j after stage i of T, and row 0 is the base model. All rows are of
the same prompts, so that differences are paired by prompt; intervals are stratified by preference.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pydantic import model_validator

from claas.results.evidence import ByItem, by_item, paired
from claas.results.keys import Criterion, Items, Key, retained
from claas.results.means import METHOD, critical, mean_interval, tail
from claas.results.records import History, Record, Status
from claas.results.settings import ISOLATED
from claas.results.statistics import Interval, wilson
from claas.results.verdict import Ruling, Verdict, side

BWT = Key(
    key="transfer.bwt",
    title="Backward transfer",
    limits=(-1.0, 1.0),
    better="higher",
    items=Items(metric="across", cluster="prompts"),
    criterion=Criterion(
        name="bwt",
        relation=">",
        threshold=-0.1,
        estimator="gain",
        meaning="with protocol=sequential: what was learnt first is kept, backward transfer is above this",
        formula="1/(T-1) sum over j < T of (R[T][j] - R[j][j]), held-out compliance",
    ),
)
"""The criterion of a sequential run as a whole. (The maximum in `forgetting` is biased upwards: it is not judged.)"""


class MatrixCell(Record):
    """Held-out compliance with one preference after one stage, in [0, 1], and Wilson's interval; null: not measured."""

    value: float | None
    ci: tuple[float, float] | None
    n: int


class Stage(Record):
    """The updates of the adapter under one preference: those after `first_update` up to `last_update`.

    `retained` is, by criterion, the score over what should be kept where it ends, less the base model's.
    """

    preference: str
    first_update: int
    last_update: int
    done: bool
    retained: dict[str, float | None]

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: dict[str, Any]) -> dict[str, Any]:
        """They had one criterion for all that should be kept, and its score beside the change."""
        if "capability_change" not in values:
            return values
        known = {name: value for name, value in values.items() if not name.startswith("capability")}
        return known | {"retained": {"capability_retention": values["capability_change"]}}


class TransferNumber(Record):
    """One number over the matrix, with its formula and where that comes from; null where its cells are not there."""

    value: float | None
    ci: tuple[float, float] | None = None
    n: int = 0
    formula: str
    source: str
    note: str | None = None


class Transfer(Record):
    """A sequential run. `matrix` has a row for the base model and one for each stage, a column for each preference.

    `ruling` is on backward transfer.
    """

    preferences: list[str]
    stages: list[Stage]
    matrix: list[list[MatrixCell]]
    numbers: dict[str, TransferNumber]
    ruling: Ruling

    @property
    def retained(self) -> list[str]:
        """The criteria of what should be kept, of any stage."""
        return list(dict.fromkeys(criterion for stage in self.stages for criterion in stage.retained))


def transfer_of(
    histories: Sequence[History],
    threshold: float,
    confidence: float,
    family: int,
    alone: Mapping[str, History] | None = None,
) -> Transfer:
    """The transfer among preferences that one adapter learned in this order; `threshold` is that of `BWT`.

    `family` is how many criteria the run judges beside this one. A fail is one at the confidence that Bonferroni's
    correction over all of them asks for. `alone` has by preference what became of it on an adapter of its own.
    """
    matrix = _Matrix([[_cell(histories, row, column) for column in range(len(histories))] for row in _rows(histories)])
    numbers = {
        "acc": matrix.acc(confidence),
        "bwt": matrix.bwt(confidence),
        "fwt": matrix.fwt(confidence),
        "forgetting": matrix.forgetting(),
        "intransigence": _intransigence(matrix, histories, alone or {}, confidence),
        "lca": _lca(histories, matrix),
    }
    return Transfer(
        preferences=[history.preference for history in histories],
        stages=_stages(histories),
        matrix=[[_shown(cell, confidence) for cell in row] for row in matrix.cells],
        numbers=numbers,
        ruling=_ruling(matrix, histories, threshold, confidence, family),
    )


@dataclass(frozen=True)
class _Matrix:
    """R, each cell as the scores by prompt that it is the mean of."""

    cells: Sequence[Sequence[ByItem]]  # (T + 1) x T

    @property
    def stages(self) -> int:
        """How many preferences were learned: T."""
        return len(self.cells) - 1

    def acc(self, confidence: float) -> TransferNumber:
        last = [_known(cell) for cell in self.cells[-1]]
        return _number(last, _Strata(last, _LEVELS), confidence, *_ACC)

    def bwt_strata(self) -> list[list[float]]:
        return [_differences(self.cells[-1][j], self.cells[j + 1][j]) for j in range(self.stages - 1)]

    def bwt(self, confidence: float) -> TransferNumber:
        strata = self.bwt_strata()
        return _number(strata, _Strata(strata, _CHANGES), confidence, *_BWT)

    def fwt(self, confidence: float) -> TransferNumber:
        strata = [_differences(self.cells[j][j], self.cells[0][j]) for j in range(1, self.stages)]
        return _number(strata, _Strata(strata, _CHANGES), confidence, *_FWT)

    def forgetting(self) -> TransferNumber:
        lost: list[float] = []
        for j in range(self.stages - 1):
            column = [_mean(self.cells[row][j]) for row in range(j + 1, self.stages + 1)]
            if any(value is None for value in column):
                return TransferNumber(value=None, formula=_FORGETTING[0], source=_FORGETTING[1])
            known = [value for value in column if value is not None]
            lost.append(max(known[:-1]) - known[-1])
        return TransferNumber(value=fmean(lost), formula=_FORGETTING[0], source=_FORGETTING[1], note=_FORGETTING[2])


_ACC = ("1/T sum over j of R[T][j]", "Lopez-Paz & Ranzato 2017, arXiv:1706.08840")
_BWT = ("1/(T-1) sum over j < T of (R[T][j] - R[j][j])", "Lopez-Paz & Ranzato 2017, arXiv:1706.08840")
_FWT = (
    "1/(T-1) sum over j > 1 of (R[j-1][j] - R[0][j])",
    "Lopez-Paz & Ranzato 2017, arXiv:1706.08840; they subtract a random initialisation, this the base model",
)
_FORGETTING = (
    "1/(T-1) sum over j < T of (max over l from j to T-1 of R[l][j], less R[T][j])",
    "Chaudhry et al. 2018, arXiv:1801.10112",
    "the maximum of noisy cells is biased upwards: described, not judged",
)
_INTRANSIGENCE = (
    "1/T sum over j of (R*[j] - R[j][j]), R* on an adapter of its own with as many updates",
    "Chaudhry et al. 2018, arXiv:1801.10112; R* there is a model trained on everything at once",
)
_LCA = (
    "mean over stages of 1/(b+1) sum over u from 0 to b of compliance after u updates of it, b = 10 or all its updates",
    "Chaudhry et al. 2019, arXiv:1812.00420",
)

_HELDOUT = Items(metric="compliance", prefix="heldout/", cluster="prompts")


def _rows(histories: Sequence[History]) -> range:
    return range(len(histories) + 1)


def _cell(histories: Sequence[History], row: int, column: int) -> ByItem:
    """Scores by held-out prompt of one preference, after `row` stages."""
    own = histories[column]
    if row == 0:
        return by_item(own.rollouts(0), _HELDOUT)
    stage = histories[row - 1]
    if stage is own:
        return _own(stage)
    if stage.status is not Status.COMPLETE:
        return {}
    prefix = f"{own.preference}/"
    found = by_item(stage.rollouts(stage.planned_steps), Items(metric="across", prefix=prefix, cluster="prompts"))
    return {item.removeprefix(prefix): score for item, score in found.items()}


def _stages(histories: Sequence[History]) -> list[Stage]:
    stages: list[Stage] = []
    before = 0
    for history in histories:
        stages.append(
            Stage(
                preference=history.preference,
                first_update=before,
                last_update=before + history.planned_steps,
                done=history.status is Status.COMPLETE,
                retained={
                    criterion.name: _change(history.curve(key.key), history.planned_steps)
                    for key, criterion in retained(history.keys)
                },
            )
        )
        before += history.planned_steps
    return stages


def _change(curve: Mapping[int, float | None], last: int) -> float | None:
    now, base = curve.get(last), curve.get(0)
    return None if now is None or base is None else now - base


def _lca(histories: Sequence[History], matrix: _Matrix) -> TransferNumber:
    areas: list[float] = []
    for j, history in enumerate(histories):
        last = min(10, history.planned_steps)
        curve = history.curve("heldout_compliance")
        values = [_mean(matrix.cells[j][j]), *(curve.get(updates) for updates in range(1, last + 1))]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return TransferNumber(value=None, formula=_LCA[0], source=_LCA[1])
        areas.append(fmean(known))
    return TransferNumber(value=fmean(areas), n=len(areas), formula=_LCA[0], source=_LCA[1])


def _intransigence(
    matrix: _Matrix, histories: Sequence[History], alone: Mapping[str, History], confidence: float
) -> TransferNumber:
    controls = [alone.get(history.preference) for history in histories]
    if None in controls:
        formula, source = _INTRANSIGENCE
        return TransferNumber(value=None, formula=formula, source=source, note=f"needs controls=[{ISOLATED}]")
    strata = [
        _differences(_own(control), matrix.cells[j + 1][j]) for j, control in enumerate(controls) if control is not None
    ]
    return _number(strata, _Strata(strata, _CHANGES), confidence, *_INTRANSIGENCE)


def _own(history: History) -> ByItem:
    """Scores by held-out prompt of the preference that a track is about, where it ends."""
    return by_item(history.rollouts(history.planned_steps), _HELDOUT) if history.status is Status.COMPLETE else {}


def _ruling(matrix: _Matrix, histories: Sequence[History], threshold: float, confidence: float, family: int) -> Ruling:
    assert BWT.criterion is not None, "it is declared with one"
    number = matrix.bwt(confidence)
    interval = number.ci and Interval(*number.ci)
    verdict, note = side(BWT.criterion.relation, interval, threshold), number.note
    not_learned = _not_learned(matrix, histories, max(0.0, -threshold), confidence)
    p = None
    if any(history.status is not Status.COMPLETE for history in histories):
        verdict, note = Verdict.INCONCLUSIVE, "not all stages are done"
    elif number.value is not None:
        p = _Strata(matrix.bwt_strata(), _CHANGES).p_at_least(threshold)
        if verdict is Verdict.PASS and not_learned:
            verdict = Verdict.INCONCLUSIVE
            note = f"nothing to lose: {', '.join(not_learned)} not shown to be learned by more than may be lost"
        if verdict is Verdict.FAIL and p > (1 - confidence) / 2 / (family + 1):
            verdict = Verdict.INCONCLUSIVE
            note = f"beyond the threshold, but not as one of the run's {family + 1} criteria (Bonferroni)"
    return Ruling(
        value=number.value,
        ci=number.ci,
        relation=BWT.criterion.relation,
        threshold=threshold,
        n=number.n,
        p=p,
        p_holm=None if p is None else min(1.0, p * (family + 1)),
        verdict=verdict,
        formula=f"{_BWT[0]}; paired by prompt, stratified by preference: {METHOD}, and Welch's degrees of freedom",
        note=note,
    )


def _not_learned(matrix: _Matrix, histories: Sequence[History], margin: float, confidence: float) -> list[str]:
    """The preferences before the last whose own stage is not shown to have gained more than `margin`.

    What was never there cannot be lost, so that no loss of it says anything (ICH E10 2000: a trial of non-inferiority
    has to be able to show the difference)."""
    gains = (_differences(matrix.cells[j + 1][j], matrix.cells[0][j]) for j in range(matrix.stages - 1))
    intervals = [mean_interval(each, confidence) for each in gains]
    return [
        history.preference
        for history, interval in zip(histories, intervals, strict=False)
        if interval is None or interval.low <= margin
    ]


_ROUNDING = 1e-9

_CHANGES = (-math.sqrt(0.5), math.sqrt(0.5))
"""Half of one prompt each way: Agresti & Min 2005, for pairs that pass or fail."""

_LEVELS = (0.0, 1.0)
"""One prompt that passes and one that fails: Agresti & Coull 1998, at two in place of four."""


@dataclass(frozen=True)
class _Strata:
    """The mean of the means of several samples, with the two values in `added` put to each, so that samples without any
    spread still have a width."""

    samples: Sequence[Sequence[float]]
    added: tuple[float, float]

    def interval(self, confidence: float) -> Interval:
        mean, error, degrees = self._moments()
        half = critical(degrees, confidence) * error
        plain = fmean(map(fmean, self.samples))
        return Interval(min(mean - half, plain), max(mean + half, plain))

    def p_at_least(self, threshold: float) -> float:
        """One-sided p-value of the mean being `threshold` or more."""
        mean, error, degrees = self._moments()
        return tail(degrees, (mean - threshold) / error)

    def _moments(self) -> tuple[float, float, int]:
        """Mean, standard error, and degrees of freedom (Welch 1947), whole ones."""
        means: list[float] = []
        errors: list[tuple[float, int]] = []  # squared, of the mean of one sample
        for sample in self.samples:
            values = [*sample, *self.added]
            mean = fmean(values)
            means.append(mean)
            errors.append((math.fsum((value - mean) ** 2 for value in values) / len(values) ** 2, len(values) - 1))
        total = math.fsum(error for error, _ in errors)
        degrees = total**2 / math.fsum(error**2 / degrees for error, degrees in errors)
        return fmean(means), math.sqrt(total) / len(means), math.floor(degrees + _ROUNDING)


def _number(
    samples: Sequence[Sequence[float]], strata: _Strata, confidence: float, formula: str, source: str
) -> TransferNumber:
    if not samples or not all(samples):
        return TransferNumber(value=None, formula=formula, source=source, note="a cell that it needs is not measured")
    interval = strata.interval(confidence)
    low, high = (max(-1.0, interval.low), min(1.0, interval.high))
    return TransferNumber(
        value=fmean(map(fmean, samples)),
        ci=(low, high),
        n=sum(map(len, samples)),
        formula=formula,
        source=source,
    )


def _shown(cell: ByItem, confidence: float) -> MatrixCell:
    known = _known(cell)
    if not known:
        return MatrixCell(value=None, ci=None, n=0)
    lost, n = len(cell) - len(known), len(cell)
    ci = (wilson(sum(known), n, confidence).low, wilson(sum(known) + lost, n, confidence).high)
    return MatrixCell(value=fmean(known), ci=ci, n=len(known))


def _known(cell: ByItem) -> list[float]:
    return [score for score in cell.values() if score is not None]


def _mean(cell: ByItem) -> float | None:
    known = _known(cell)
    return fmean(known) if known else None


def _differences(after: ByItem, before: ByItem) -> list[float]:
    now, was, _ = paired(after, before)
    return [new - old for new, old in zip(now, was, strict=True)]
