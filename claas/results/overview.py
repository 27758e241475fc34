"""A run in one row: what the list of all runs shows, kept in the run's index so that a list reads no records."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

from pydantic import Field

from claas.core.errors import ClaasError, InvalidInput
from claas.results.foreign import OF_KFALLAH_CLAAS
from claas.results.keys import Key, Role, judged, with_role
from claas.results.labels import NO_LABELS, Labels, read_labels
from claas.results.manifest import measured_settings, written
from claas.results.points import INDEX_VERSION, Stamp, read_cached, read_measurement, write_cached
from claas.results.records import History, Record, Status
from claas.results.run_files import RESERVED, RunFiles
from claas.results.run_index import FOLDER, Folder, RunIndex, errors_named_after, read_run
from claas.results.sessions import Span, time_of, united, wall_clock
from claas.results.settings import FEEDBACK, EvalConfig
from claas.results.summary import FILE_NAME, PreferenceSummary, build_summary
from claas.results.verdict import Verdict


class State(StrEnum):
    """What has become of a folder of the list."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    STOPPED = "stopped"
    UNREADABLE = "unreadable"
    FOREIGN = "foreign"
    WAITING = "waiting"


class PreferenceRow(Record):
    """One preference of a run; `curve` shows how it was learned, by number of updates, None where that was lost.

    `drawn` says what of, and `note` what has to be said of that.
    """

    name: str
    drawn: str
    note: str | None
    steps_done: int
    steps_planned: int
    verdict: Verdict | None
    reason: str | None
    curve: dict[int, float | None]

    @property
    def last_value(self) -> float | None:
        """The last measured point of the curve."""
        measured = [value for _, value in sorted(self.curve.items()) if value is not None]
        return measured[-1] if measured else None


class RunRow(Record):
    """One run. `seconds` is how long it was worked on, pauses left out, and `busy_s` how long its preferences were,
    one by one, which is more where they are trained side by side; `worked` is when. `settings` are those that may
    change what is measured, as they are given on the command line. `cost` is in the currency of its prices."""

    run_id: str
    created: str
    base_model: str
    mode: str
    seed: int
    settings: dict[str, str]
    arm: str = FEEDBACK
    state: State
    verdict: Verdict | None
    preferences: tuple[PreferenceRow, ...]
    updates: int
    planned: int
    tokens: int = Field(lt=2**63)
    seconds: float
    busy_s: float
    worked: tuple[tuple[str, str], ...]
    cost: float | None
    problems: tuple[str, ...]


class CachedRow(Record):
    """A row, and the files it was made of as they were before they were read."""

    index_version: int
    stamps: dict[str, Stamp | None]
    row: RunRow


@dataclass(frozen=True)
class Listed:
    """A folder of the list: its row, or the problem for which it has none; neither where it has yet to be read.

    `labels` are what a person has noted about it.
    """

    name: str
    row: RunRow | None
    problem: str | None = None
    labels: Labels = NO_LABELS

    @property
    def state(self) -> State:
        """A folder without a row is unreadable, another project's, or has yet to be read."""
        if self.row is not None:
            return self.row.state
        if self.problem == OF_KFALLAH_CLAAS:
            return State.FOREIGN
        return State.WAITING if self.problem is None else State.UNREADABLE


_ROW = "row.json"
_RECORDS = ("metadata.json", "baseline.json", "steps.jsonl")


def listed(folders: Iterable[Folder], new_rows_s: float) -> list[Listed]:
    """What the list says of folders, from the runs' indices where those are up to date.

    The others are read as long as `new_rows_s` seconds last; those left then are waiting.
    """
    until = time.monotonic() + new_rows_s
    return [_listed(folder, until) for folder in folders]


def _listed(folder: Folder, until: float) -> Listed:
    if folder.problem is not None:
        return Listed(folder.name, None, folder.problem)
    try:
        with errors_named_after(folder.name):
            stamps = _stamps(folder.path)
            cached = read_cached(folder.path / FOLDER / _ROW, CachedRow)
            if cached is not None and (cached.index_version, cached.stamps) == (INDEX_VERSION, stamps):
                return _labelled(folder, _timed(cached.row, folder.path))
            if time.monotonic() > until:
                return Listed(folder.name, None)
            return _labelled(folder, _made(read_run(folder.name, folder.path), stamps))
    except ClaasError as error:
        return Listed(folder.name, None, str(error))


def _labelled(folder: Folder, row: RunRow) -> Listed:
    """The row with what a person has noted; where that cannot be read, it says so."""
    try:
        return Listed(folder.name, row, labels=read_labels(folder.path))
    except InvalidInput as error:
        return Listed(folder.name, row.model_copy(update={"problems": (*row.problems, str(error))}))


_SHOWN_OTHERWISE = frozenset({"preferences", "checkpoints"})
"""What a list shows of every run, and what follows from the number of steps."""


def differing(rows: Sequence[RunRow]) -> list[str]:
    """The settings in which these runs are not all the same, by dotted name; what a list shows of each is left out."""
    names = dict.fromkeys(name for row in rows for name in row.settings)
    return [
        name for name in names if name not in _SHOWN_OTHERWISE and len({row.settings.get(name) for row in rows}) > 1
    ]


def cache_row(run: RunIndex) -> None:
    """Keep a run's row for the list; not of one that goes on."""
    _made(run, _stamps(run.files.root))


def _made(run: RunIndex, stamps: dict[str, Stamp | None]) -> RunRow:
    """The run's row, kept unless the run goes on; one that goes on later writes its config.json anew."""
    row = overview(run)
    if row.state is not State.RUNNING:
        write_cached(run.files.root / FOLDER / _ROW, CachedRow(index_version=INDEX_VERSION, stamps=stamps, row=row))
    return row


def _stamps(root: Path) -> dict[str, Stamp | None]:
    """The stamp of every file that the row depends on."""
    with os.scandir(root) as entries:
        folders = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    inner = [f"{folder}/{name}" for folder in folders if folder not in RESERVED for name in _RECORDS]
    return {name: Stamp.of(root / name) for name in ("config.json", FILE_NAME, *inner)}


def overview(run: RunIndex) -> RunRow:
    """The row of a run."""
    summary = run.summary
    records = [record for history in run.histories.values() for record in (history.baseline, *history.steps) if record]
    tokens = sum(amount for record in records for amount in record.tokens.values())
    worked = united(span for history in run.histories.values() for span in _spans(history))
    row = RunRow(
        run_id=run.manifest.run_id,
        created=run.manifest.created,
        base_model=str(run.config.base_model),
        mode=run.config.mode,
        seed=run.config.seed,
        settings=written_settings(run.config),
        arm=run.config.arm,
        state=State(run.status) if run.status else State.STOPPED,
        verdict=summary.verdict if summary and run.status is Status.COMPLETE else None,
        preferences=tuple(_preference(run, name) for name in run.points),
        updates=sum(len(history.steps) for history in run.histories.values()),
        planned=sum(run.planned_steps(track.name) for track in run.tracks),
        tokens=tokens,
        seconds=0.0,
        busy_s=sum(map(seconds, run.histories.values())),
        worked=tuple((start.isoformat(), end.isoformat()) for start, end in worked),
        cost=summary.cost if summary else None,
        problems=run.problems,
    )
    return _timed(row, run.files.root)


def written_settings(config: EvalConfig) -> dict[str, str]:
    """The settings that may change what is measured, as they are given on the command line."""
    return {name: written(value) for name, value in measured_settings(config).items()}


def _timed(row: RunRow, root: Path) -> RunRow:
    """The row with the wall clock, which its sessions tell: they end after the row may have been kept."""
    worked = [(time_of(start), time_of(end)) for start, end in row.worked]
    now = datetime.now(UTC) if row.state is State.RUNNING else None
    return row.model_copy(update={"seconds": wall_clock(RunFiles(root).sessions, worked, now)})


def _preference(run: RunIndex, name: str) -> PreferenceRow:
    history, summary = run.histories[name], run.preference_summary(name)
    drawn = _drawn(history)
    judged_by = drawn.criterion if drawn else None
    return PreferenceRow(
        name=name,
        drawn=(judged_by and judged_by.title) or (drawn.title if drawn else "nothing"),
        note=judged_by and judged_by.note,
        steps_done=len(history.steps),
        steps_planned=history.planned_steps,
        verdict=summary.verdict if summary and summary.status is Status.COMPLETE and not summary.control_of else None,
        reason=summary.reason if summary else None,
        curve=history.curve(drawn.key) if drawn else {},
    )


def _drawn(history: History) -> Key | None:
    """The key that shows whether the preference was learned, or else the first that is judged."""
    learned = with_role(history.keys, Role.LEARNED)
    return next((key for key in (learned, *(key for key, _ in judged(history.keys))) if key is not None), None)


def seconds(history: History) -> float:
    """The time from the start of the preference's baseline to its last record, pauses left out."""
    baseline_s = sum(history.baseline.timing_s.values()) if history.baseline else 0.0
    return baseline_s + sum(step_seconds(history))


def step_seconds(history: History) -> list[float]:
    """Wall time of each step, from the record before it; a pause before a resumed step is left out.

    Without a pause it is at most the step's phases one after another: the next update overlaps a measurement, but
    what a step itself needs comes in turn.
    """
    if history.baseline is None:
        return []
    times = [time_of(record.timestamp) for record in (history.baseline, *history.steps)]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    phases = [sum(step.timing_s.values()) for step in history.steps]
    return [max(0.0, min(gap, phase)) for gap, phase in zip(gaps, phases, strict=True)]


_LONGEST_S = 1e9
"""No record took longer: beyond it there is no date."""


def _spans(history: History) -> list[Span]:
    """When each record of a preference was being made; the phases of a baseline may overlap, and count but once."""
    if history.baseline is None:
        return []
    records = (history.baseline, *history.steps)
    took = [max(history.baseline.timing_s.values(), default=0.0), *step_seconds(history)]
    ends = [time_of(record.timestamp) for record in records]
    return [(end - timedelta(seconds=min(taken, _LONGEST_S)), end) for end, taken in zip(ends, took, strict=True)]


def summaries(run: RunIndex) -> dict[str, PreferenceSummary]:
    """What is known of each preference: the run's summary where it has all of them, or one made of all as that will be.

    All, because p-values are adjusted for one another.
    """
    written = {name: run.preference_summary(name) for name in run.points}
    standing = {name: summary for name, summary in written.items() if summary is not None}
    if len(standing) == len(written):
        return standing
    made = {name: last_measured(run, name) for name in run.points}
    return build_summary(run.manifest.run_id, run.config, made, run.manifest.changes, run.manifest.tracks).preferences


def last_measured(run: RunIndex, preference: str) -> History:
    """The preference's curves, with the transcripts of the baseline, of the last measurement of every key, and of what
    was learned where its user changes their mind."""
    history, points, files = run.histories[preference], run.points[preference], run.files.preference(preference)
    if history.baseline is None:
        return history
    flips_at = {track.flips_at for track in run.tracks if track.name == preference}
    wanted = {0} | {updates for key in history.known_keys() for updates in _last(history, key)}
    wanted |= {step.step + 1 for step in history.steps if step.step + 1 in flips_at}
    full = {updates: read_measurement(files, points, updates) for updates in wanted}
    steps = tuple(full.get(step.step + 1, step) for step in history.steps)
    return replace(history, baseline=full[0], steps=steps)


def _last(history: History, key: str) -> set[int]:
    """After how many updates a key was last due, and last measured."""
    measured = [updates for updates, value in history.curve(key).items() if value is not None]
    return {updates for updates in (history.last_due(key), max(measured, default=None)) if updates is not None}
