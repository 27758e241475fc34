"""The confidence intervals behind the bands: made from transcripts, or looked up where somebody kept them."""

from collections.abc import Callable, Container, Sequence

from claas.eval.history import History
from claas.eval.records import Transcript
from claas.eval.verdicts.criteria import CRITERIA
from claas.eval.verdicts.statistics import Interval

Intervals = Callable[[History, int, str], Interval | None]
"""The interval of a criterion, by its name, of a preference's measurement after so many updates."""


def from_transcripts(confidence: float) -> Intervals:
    """Estimates each interval when it is asked for, from the history's own transcripts."""
    criteria = {criterion.name: criterion for criterion in CRITERIA}

    def interval(history: History, updates: int, name: str) -> Interval | None:
        after, before = history.rollouts(updates), history.rollouts(0)
        return criteria[name].estimate(after, before, 0.0, confidence).interval

    return interval


def intervals_of(
    after: Sequence[Transcript], before: Sequence[Transcript], keys: Container[str], confidence: float
) -> dict[str, tuple[float, float] | None]:
    """Every criterion's interval of one measurement, by the criterion's name, as (low, high).

    `before` are the transcripts at baseline. A criterion whose key is not in `keys`, which are those that were due, is
    absent; None where the transcripts cannot give an interval.
    """
    due = [criterion for criterion in CRITERIA if criterion.key in keys]
    found = {each.name: each.estimate(after, before, 0.0, confidence).interval for each in due}
    return {name: interval and (interval.low, interval.high) for name, interval in found.items()}
