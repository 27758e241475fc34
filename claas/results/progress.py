"""How far a preference has come, in one line, and how its measurements ended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from claas.results.estimates import is_beyond, threshold_of
from claas.results.keys import Key
from claas.results.numbers import duration
from claas.results.records import Baseline, Counts, StepRecord, flat, total_counts

_RECENT = 5


@dataclass
class ProgressLine:
    """The last known numbers; those not due at a step stay as they were.

    `keys` are what the run's metrics declare, and `criteria` thresholds in place of the declared ones. `counts` says
    how the last record's measurements ended, `all_counts` those of all records. `state`: waiting, baseline, running,
    done or failed.
    """

    name: str
    planned: int
    keys: Sequence[Key]
    criteria: Mapping[str, float]
    done: int = 0
    state: str = "waiting"
    failure: str | None = None
    values: dict[str, float | None] = field(default_factory=dict[str, float | None])
    counts: dict[str, Counts] = field(default_factory=dict[str, Counts])
    all_counts: dict[str, Counts] = field(default_factory=dict[str, Counts])
    _at_baseline: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    _seconds: list[float] = field(default_factory=list[float])

    def measured(self, record: Baseline | StepRecord) -> None:
        """Take over a record's numbers."""
        self.values |= flat(record.eval)
        self.counts, self.all_counts = record.counts, total_counts([self.all_counts, record.counts])
        self.state = "running"
        if isinstance(record, Baseline):
            self._at_baseline = flat(record.eval)

    def finished(self, record: StepRecord, seconds: float) -> None:
        """Take over a step's numbers, and how long it took."""
        self.measured(record)
        self.done = record.step + 1
        if record.fell_silent:
            self.planned = self.done
        self._seconds.append(seconds)

    @property
    def left(self) -> int:
        """Steps still to do; none once it has ended."""
        return 0 if self.state in ("done", "failed") else self.planned - self.done

    @property
    def step_s(self) -> float | None:
        """Seconds per step, over the last few; None before the first, which counts only until there is another
        because starting up and measuring baseline are in it."""
        recent = (self._seconds[1:] or self._seconds)[-_RECENT:]
        return fmean(recent) if recent else None

    def time_left(self) -> str:
        """The time left at the pace of the last few steps; `?` before the first."""
        return "?" if self.step_s is None else duration(self.step_s * self.left)

    def alarms(self) -> list[str]:
        """What somebody should look at now: first what a metric itself gives an alert for, then what is beyond the
        threshold of its criterion."""
        named = sorted((key for key in self.keys if key.alarm), key=lambda key: key.criterion is not None)
        return [key.alarm for key in named if key.alarm and self._is_beyond(key)]

    def _is_beyond(self, key: Key) -> bool:
        """Whether the bare number is, which says less than the criterion's interval does."""
        now = self.values.get(key.key)
        if now is None:
            return False
        if key.criterion is None:
            return now == 1.0
        return is_beyond(key.criterion, now, self._at_baseline.get(key.key), threshold_of(key.criterion, self.criteria))

    def cell(self, column: Key) -> str:
        """The number as the table shows it, a dash where there is none."""
        value = self.values.get(column.key)
        return "–" if value is None else format(value, column.form)

    def plain(self) -> str:
        """All numbers there are, with their names."""
        numbers = [
            f"{column.heading} {self.cell(column)}" for column in columns(self.keys) if column.key in self.values
        ]
        losses = lost(self.counts)
        return ", ".join([*numbers, *([losses] if losses else []), *(alarm.upper() for alarm in self.alarms())])


def columns(keys: Iterable[Key]) -> list[Key]:
    """The numbers that are worth watching, in order."""
    return [key for key in keys if key.heading is not None]


def seconds_left(lines: Sequence[ProgressLine], parallel: int) -> float | None:
    """The time left for all of them, `parallel` at a time, at their pace; None before the first step and at the end."""
    paces = [line.step_s for line in lines if line.step_s is not None]
    left = sum(line.left for line in lines)
    return fmean(paces) * left / min(parallel, len(lines)) if paces and left else None


def measured(counts: Mapping[str, Counts]) -> str:
    """`measurements: 130 planned, 127 scored`, over all metrics; what the bound cut off is among the scored."""
    planned, scored = sum(count.planned for count in counts.values()), sum(count.scored for count in counts.values())
    return f"measurements: {planned} planned, {scored} scored"


def lost(counts: Mapping[str, Counts]) -> str | None:
    """`answers lost: 3 of 64 of heldout, 1 of 4 of sample`; None when all came."""
    return _listed("answers lost", {name: (count.errored, count.planned) for name, count in counts.items()})


def cut_off(counts: Mapping[str, Counts]) -> str | None:
    """`answers cut at the token bound: 2 of 64 of heldout`, of those that came; None when none was."""
    return _listed(
        "answers cut at the token bound", {name: (count.truncated, count.scored) for name, count in counts.items()}
    )


def _listed(what: str, parts: Mapping[str, tuple[int, int]]) -> str | None:
    listed = [f"{number} of {of} of {name}" for name, (number, of) in parts.items() if number]
    return f"{what}: {', '.join(listed)}" if listed else None


def printable(text: str) -> str:
    """Text on one line that cannot steer a terminal: whatever does not print becomes a space."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
