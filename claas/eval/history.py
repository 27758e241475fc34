"""What one preference has measured so far, and how to look values up in it by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from claas.eval.records import Baseline, StepRecord, Transcript, Values


class Status(StrEnum):
    """How far a preference, or a run, has come."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True)
class History:
    """One preference's records, in step order. `failure` is why it ended early, None when it did not."""

    preference: str
    planned_steps: int
    baseline: Baseline | None = None
    steps: tuple[StepRecord, ...] = ()
    failure: str | None = None

    @property
    def status(self) -> Status:
        """Complete once every planned step is recorded."""
        if self.failure is not None:
            return Status.FAILED
        return Status.COMPLETE if len(self.steps) >= self.planned_steps else Status.RUNNING

    @property
    def progress(self) -> str:
        """How far it has come, in words: `running: 5 of 20 steps`."""
        word = "ended" if self.status is Status.FAILED else self.status.value
        return f"{word}: {len(self.steps)} of {self.planned_steps} steps"

    def curve(self, key: str) -> dict[int, float | None]:
        """The measurements under `key` by number of updates: 0 is the baseline, k + 1 what step k made.

        None where it was due and not measured; absent where it was not due.
        """
        metric = key.partition(".")[0]  # a whole metric may be null
        return {updates: known.get(key) for updates, known in self._values if key in known or metric in known}

    def known_keys(self) -> list[str]:
        """Every key measured or due at any time, sorted."""
        return sorted({key for _, known in self._values for key in known})

    def last_due(self, key: str) -> int | None:
        """The latest number of updates at which `key` was due, None when it never was after baseline."""
        return max((updates for updates in self.curve(key) if updates > 0), default=None)

    def rollouts(self, updates: int) -> Sequence[Transcript]:
        """The transcripts of one measurement; none where nothing was measured."""
        record = self._record(updates)
        return record.rollouts if record else ()

    def _record(self, updates: int) -> Baseline | StepRecord | None:
        if updates == 0:
            return self.baseline
        return next((step for step in self.steps if step.step + 1 == updates), None)

    @cached_property
    def _values(self) -> list[tuple[int, dict[str, float | None]]]:
        """What each measurement found under dotted keys, after so many updates: every curve reads all of them."""
        baseline = [(0, flat(self.baseline.eval))] if self.baseline else []
        return [*baseline, *((step.step + 1, flat(step.eval)) for step in self.steps)]


def flat(values: Values) -> dict[str, float | None]:
    """Values under dotted keys: `{"general": {"score": 1}}` is `{"general.score": 1}`."""
    found: dict[str, float | None] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= {f"{key}.{part}": inner for part, inner in value.items()}
        else:
            found[key] = value
    return found
