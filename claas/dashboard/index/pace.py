"""How long the steps of a preference took, from its records."""

from datetime import UTC, datetime
from itertools import pairwise

from claas.eval.history import History
from claas.eval.records import Baseline, StepRecord


def step_seconds(history: History) -> list[float]:
    """Wall time of each step, from the record before it; a pause before a resumed step is left out.

    Without a pause it is at most the step's phases one after another: the next update overlaps a measurement, but
    what a step itself needs comes in turn.
    """
    if history.baseline is None:
        return []
    times = [_time(record) for record in (history.baseline, *history.steps)]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    phases = [sum(step.timing_s.values()) for step in history.steps]
    return [max(0.0, min(gap, phase)) for gap, phase in zip(gaps, phases, strict=True)]


def seconds(history: History) -> float:
    """From the start of the preference's baseline to its last record, pauses left out."""
    begun = sum(history.baseline.timing_s.values()) if history.baseline else 0.0
    return begun + sum(step_seconds(history))


def _time(record: Baseline | StepRecord) -> datetime:
    """When it was written; in UTC, unless it says otherwise."""
    time = datetime.fromisoformat(record.timestamp)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
