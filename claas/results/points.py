"""What a preference's curves are made of, read once: the index holds each record without its transcripts.

`steps.jsonl` has a few hundred kilobytes of transcripts a step, of which curves need nothing but the intervals that
come from them. So the index keeps each record light (`rollouts` empty), the intervals of its criteria and means, and
the place of its line; when the file grows, only the new lines are read."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from claas.core.errors import InvalidInput, NotFound, StackError
from claas.core.files import open_file, read_bytes, write_atomically
from claas.results.charts import intervals_of
from claas.results.keys import Key
from claas.results.records import Baseline, History, Record, StepRecord, flat
from claas.results.run_files import PreferenceFiles, parsed
from claas.results.statistics import Interval

INDEX_VERSION = 4
Intervals = dict[str, tuple[float, float] | None]


class Stamp(Record):
    """A file as it was when it was read."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Stamp | None":
        """The stamp of a file; None where there is none."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return cls(size=status.st_size, mtime_ns=status.st_mtime_ns)


class Point(Record):
    """One step without its transcripts: its record, the intervals by name, and the place of its line."""

    record: StepRecord
    intervals: Intervals
    offset: int
    length: int


class Points(Record):
    """One preference, as far as its files were readable; `damage` says what ended the reading.

    `read` bytes of steps.jsonl are in `points`, and `last` is the sha256 of the last line among them.
    """

    index_version: int = INDEX_VERSION
    confidence: float
    keys: tuple[Key, ...]
    baseline_stamp: Stamp | None
    steps_stamp: Stamp | None
    baseline: Baseline | None = None
    baseline_intervals: Intervals = Field(default_factory=dict)
    points: tuple[Point, ...] = ()
    read: int = 0
    last: str = ""
    damage: str | None = None

    def history(self, preference: str, planned_steps: int, failure: str | None) -> History:
        """The preference's curves; its records have no transcripts."""
        steps = tuple(point.record for point in self.points)
        return History(preference, planned_steps, self.baseline, steps, failure, self.keys)

    def interval(self, updates: int, name: str) -> Interval | None:
        """The interval of this name (`claas.results.charts.Intervals`) after so many updates; None where there is
        none."""
        if updates == 0:
            ends = self.baseline_intervals.get(name)
        elif updates <= len(self.points):
            ends = self.points[updates - 1].intervals.get(name)
        else:
            ends = None
        return ends and Interval(*ends)


def read_points(files: PreferenceFiles, cached: Points | None, confidence: float, keys: tuple[Key, ...]) -> Points:
    """The index of a preference's files as they are now; what `cached` has of them is not read again.

    `keys` are what is declared of the preference's numbers, and `confidence` is that of the intervals.
    """
    if cached is not None and not _holds(cached, confidence, keys):
        cached = None
    stamps = Stamp.of(files.baseline), Stamp.of(files.steps)
    unchanged = cached is not None and (cached.baseline_stamp, cached.steps_stamp) == stamps
    if cached is not None and unchanged:
        return cached
    if cached is not None and _goes_on(cached, files, stamps):
        start = cached.model_copy(update={"steps_stamp": stamps[1]})
    else:
        start = Points(confidence=confidence, keys=keys, baseline_stamp=stamps[0], steps_stamp=stamps[1])
    return _PointReader(files, start).to_the_end()


def _holds(cached: Points, confidence: float, keys: tuple[Key, ...]) -> bool:
    """Whether it was made as it would be now; what was damaged may be readable by now."""
    made = (cached.index_version, cached.confidence, cached.keys)
    return made == (INDEX_VERSION, confidence, keys) and cached.damage is None


def _goes_on(cached: Points, files: PreferenceFiles, stamps: tuple[Stamp | None, Stamp | None]) -> bool:
    """Whether the files are those that `cached` was made of, with lines added at most.

    A line is known again by what the last one says and where it stands; a file that was touched without having grown
    was rewritten.
    """
    baseline, steps = stamps
    if cached.baseline_stamp != baseline:
        return False
    if steps is None or steps.size < cached.read:
        return False
    if cached.steps_stamp is not None and steps.size == cached.steps_stamp.size:
        return False
    if not cached.points:
        return True
    with open_file(files.steps) as file:
        file.seek(cached.points[-1].offset)
        return _digest(file.read(cached.points[-1].length)) == cached.last


@dataclass(frozen=True)
class _PointReader:
    """The reading of what `start` does not have yet."""

    files: PreferenceFiles
    start: Points

    def to_the_end(self) -> Points:
        """Everything readable, and what was not."""
        try:
            baseline = self.files.read_baseline()
            if baseline is None:
                return self.start.model_copy(update={"damage": self._missing()})
            intervals = self._intervals(baseline, baseline, str(self.files.baseline))
        except InvalidInput as error:
            return self.start.model_copy(update={"damage": str(error)})
        points, damage = list(self.start.points), None
        read, last = self.start.read, self.start.last
        try:
            for offset, line in self._new_lines():
                points.append(self._point(line, offset, len(points), baseline))
                read, last = offset + len(line), _digest(line)
        except InvalidInput as error:
            damage = str(error)
        return self.start.model_copy(
            update={
                "baseline": baseline.model_copy(update={"rollouts": []}),
                "baseline_intervals": intervals,
                "points": tuple(points),
                "read": read,
                "last": last,
                "damage": damage,
            }
        )

    def _missing(self) -> str | None:
        steps = self.start.steps_stamp
        return f"{self.files.baseline} is missing, though steps were measured after it" if steps else None

    def _new_lines(self) -> Iterator[tuple[int, bytes]]:
        """Every whole line from where the reading stopped, with its place; a torn last line is none yet."""
        if self.start.steps_stamp is None:
            return
        with open_file(self.files.steps) as file:
            offset = self.start.read
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield offset, line
                offset += len(line)

    def _point(self, line: bytes, offset: int, number: int, baseline: Baseline) -> Point:
        path = self.files.steps
        try:
            record = parsed(path, line.decode(), StepRecord)
        except UnicodeDecodeError:
            raise InvalidInput(f"{path} is damaged at line {number + 1}: it is not UTF-8") from None
        if record.step != number:
            raise InvalidInput(f"{path} is damaged: line {number + 1} is of step {record.step}, not {number}")
        intervals = self._intervals(record, baseline, f"line {number + 1} of {path}")
        return Point(
            record=record.model_copy(update={"rollouts": []}), intervals=intervals, offset=offset, length=len(line)
        )

    def _intervals(self, record: Baseline | StepRecord, baseline: Baseline, where: str) -> Intervals:
        """The intervals of a record that everything else can be computed from as well; `InvalidInput` says why it is
        none."""
        try:
            datetime.fromisoformat(record.timestamp)
            intervals = intervals_of(
                record.rollouts, baseline.rollouts, self.start.keys, flat(record.eval), self.start.confidence
            )
        except (ValueError, ArithmeticError) as error:
            raise InvalidInput(f"{where} is damaged: {error}") from error
        for name, interval in intervals.items():
            if interval is not None and not all(map(math.isfinite, interval)):
                raise InvalidInput(f"{where} is damaged: its numbers are too large for an interval of {name}")
        return intervals


def read_measurement(files: PreferenceFiles, points: Points, updates: int) -> Baseline | StepRecord:
    """One record with all its transcripts; `NotFound` where nothing was measured, `InvalidInput` where it changed."""
    if updates == 0 and points.baseline is not None:
        baseline = files.read_baseline()
        if baseline is not None:
            return baseline
    if not 0 < updates <= len(points.points):
        last = f"the last one is after {len(points.points)}" if points.baseline else "not even the baseline was"
        raise NotFound(f"nothing was measured after {updates} updates; {last}")
    record = parsed(files.steps, _line(files.steps, points.points[updates - 1]), StepRecord)
    if record.step != updates - 1:
        raise InvalidInput(f"{files.steps} was changed while it was read; load the page again")
    return record


def _line(path: Path, point: Point) -> str:
    try:
        with open_file(path) as file:
            file.seek(point.offset)
            return file.read(point.length).decode(errors="replace")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read any more: {error.strerror}") from error


R = TypeVar("R", bound=Record)


def write_cached(path: Path, record: Record) -> None:
    """Keep a record under the sha256 of its text; where nothing can be written, it is made anew each time."""
    text = record.model_dump_json()
    with suppress(StackError):  # a folder that may only be read, a full disk: pages are right without
        write_atomically(path, f"{_digest(text.encode())}\n{text}")


def read_cached(path: Path, kind: type[R]) -> R | None:
    """What `write_cached` left; None where there is nothing, something else, or not every byte of it."""
    try:
        digest, _, text = read_bytes(path).partition(b"\n")
        return kind.model_validate_json(text) if digest.decode() == _digest(text) else None
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
