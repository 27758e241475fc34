"""What one preference has measured so far, and how to look values up in it by key."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

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

    def curve(self, key: str) -> dict[int, float | None]:
        """The measurements under `key` by number of updates: 0 is the baseline, k + 1 what step k made.

        None where it was due and not measured; absent where it was not due.
        """
        metric = key.partition(".")[0]
        found: dict[int, float | None] = {}
        for updates, values in self._values():
            known = flat(values)
            if key in known or metric in known:  # a whole metric may be null
                found[updates] = known.get(key)
        return found

    def known_keys(self) -> list[str]:
        """Every key measured or due at any time, sorted."""
        return sorted({key for _, values in self._values() for key in flat(values)})

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

    def _values(self) -> Iterable[tuple[int, Values]]:
        if self.baseline:
            yield 0, self.baseline.eval
        for step in self.steps:
            yield step.step + 1, step.eval


def flat(values: Values) -> dict[str, float | None]:
    """Values under dotted keys: `{"general": {"score": 1}}` is `{"general.score": 1}`."""
    found: dict[str, float | None] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= {f"{key}.{part}": inner for part, inner in value.items()}
        else:
            found[key] = value
    return found
