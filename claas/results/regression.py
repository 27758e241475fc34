"""Whether a benchmark has dropped so far that a preference should not go on."""

from collections.abc import Iterable, Mapping, Sequence

from claas.core.errors import StackError
from claas.results.decision import PairedScores, TaskDelta, deltas
from claas.results.estimates import threshold_of
from claas.results.evidence import by_item, paired
from claas.results.keys import Criterion, Items, Key, judged
from claas.results.numbers import fixed, signed
from claas.results.records import Baseline, StepRecord, Transcript, flat
from claas.results.settings import EvalConfig


class Regressed(StackError):
    """A benchmark dropped, and the run was to end there: it can be resumed."""


def require_no_regression(record: StepRecord, baseline: Baseline, keys: Iterable[Key], config: EvalConfig) -> None:
    """`Regressed` where a score at this step lies below its baseline by more than its criterion allows.

    With `config.confirm_regression` that must be beyond noise, too: the item's own scores are compared, and the p-value
    of no drop is adjusted over all that were measured (`decision.deltas`).
    """
    if not config.halt_on_regression:
        return
    changes = _changes(keys)
    found = regressions(changes, baseline.rollouts, record.rollouts, config.criteria, config.confidence)
    dropped = {name: delta for name, delta in found.items() if delta.regressed}
    if config.confirm_regression:
        dropped = {name: delta for name, delta in dropped.items() if delta.confirmed}
    if dropped:
        said = ", ".join(
            f"{name} {fixed(each.baseline, 3)} -> {fixed(each.value, 3)} ({signed(each.delta, 3)}, p = {each.p:.2g})"
            for name, each in dropped.items()
        )
        raise Regressed(
            f"step {record.step}: regressed: {said}; to go on, add halt_on_regression=false or allow more, as in "
            f"criteria.{next(iter(dropped))}=-1"
        )


def newest_checkpoint(steps: Sequence[StepRecord], keys: Iterable[Key]) -> StepRecord | None:
    """The last step at which anything that can regress was measured."""
    due = {key.key for key, _, _ in _changes(keys)}
    return next((step for step in reversed(steps) if due & flat(step.eval).keys()), None)


def regressions(
    changes: Iterable[tuple[Key, Items, Criterion]],
    before: Sequence[Transcript],
    after: Sequence[Transcript],
    criteria: Mapping[str, float],
    confidence: float,
) -> dict[str, TaskDelta]:
    """How far each score that was measured both times is from its baseline, by the name of its criterion."""
    pairs: dict[str, PairedScores] = {}
    allowed: dict[str, float] = {}
    for _, items, criterion in changes:
        now, was, _ = paired(by_item(after, items), by_item(before, items))
        if now:
            pairs[criterion.name] = PairedScores(was, now)
            allowed[criterion.name] = max(0.0, -threshold_of(criterion, criteria))
    return deltas(pairs, allowed, confidence) if pairs else {}


def _changes(keys: Iterable[Key]) -> list[tuple[Key, Items, Criterion]]:
    """What is judged by the change of scores."""
    return [
        (key, key.items, criterion)
        for key, criterion in judged(keys)
        if criterion.estimator == "change" and key.items is not None
    ]
