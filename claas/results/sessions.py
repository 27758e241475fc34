"""When processes worked on a run: `sessions.jsonl`, and the wall clock that follows from it."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from claas.core.errors import InvalidInput, StackError
from claas.core.files import append_line, read_records
from claas.results.records import Record, utc_now

Span: TypeAlias = tuple[datetime, datetime]
"""From a time to a later one."""


class SessionMark(Record):
    """A process took the run up, or let it go; one that was killed has no end."""

    event: Literal["started", "ended"]
    time: str


@contextmanager
def session(path: Path) -> Generator[None, None, None]:
    """Work on a run, from now to the end of the `with`; `path` is its sessions.jsonl."""
    append_line(path, SessionMark(event="started", time=utc_now()).model_dump_json())
    try:
        yield
    finally:
        with suppress(StackError):  # the records tell it, too, where the disk is full
            append_line(path, SessionMark(event="ended", time=utc_now()).model_dump_json())


def wall_clock(path: Path, worked: Sequence[Span], now: datetime | None) -> float:
    """For how many seconds the run was worked on; pauses between its sessions are left out.

    `worked` is when its records were being made: what tells the end of a session that was killed, and all of a run that
    is older than sessions. `now` is of a run that goes on, None of any other.
    """
    return sum((end - start).total_seconds() for start, end in _sessions(path, worked, now))


_NO_PAUSE = timedelta(seconds=10)


def united(spans: Iterable[Span]) -> list[Span]:
    """The same time in spans that do not overlap, in order; between records, some seconds are no pause."""
    whole: list[Span] = []
    for start, end in sorted(spans):
        if whole and start <= whole[-1][1] + _NO_PAUSE:
            whole[-1] = whole[-1][0], max(whole[-1][1], end)
        else:
            whole.append((start, end))
    return whole


def time_of(text: str) -> datetime:
    """A record's time; in UTC, unless it says otherwise."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _sessions(path: Path, worked: Sequence[Span], now: datetime | None) -> list[Span]:
    """Sessions, and what was worked before the first of them is on record; a file that cannot be read has none."""
    try:
        marks = [(mark.event, time_of(mark.time)) for mark in read_records(path, SessionMark, "delete it")]
    except (InvalidInput, ValueError):
        marks = []
    last = ("started" if now is None else "ended", now)
    sessions = [
        (start, _end(worked, start, following))
        for (event, start), following in zip(marks, [*marks[1:], last], strict=False)
        if event == "started"
    ]
    return united([*sessions, *(span for span in worked if not sessions or span[1] <= sessions[0][0])])


def _end(worked: Sequence[Span], start: datetime, following: tuple[str, datetime | None]) -> datetime:
    """When a session ended: of one that was killed, when its last record was written, or at once without any."""
    event, time = following
    if event == "ended" and time is not None:
        return max(start, time)
    return max((end for _, end in worked if start < end and (time is None or end <= time)), default=start)
