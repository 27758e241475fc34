"""A run in one row: what the list of all runs shows, kept in the run's index so that a list reads no records."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from claas.core.errors import ClaasError
from claas.dashboard.index.kept import keep, kept
from claas.dashboard.index.pace import seconds
from claas.dashboard.index.points import INDEX_VERSION, Stamp
from claas.dashboard.index.run_folders import Folder
from claas.dashboard.index.run_index import FOLDER, RunIndex, read_run, readable
from claas.eval.history import Status
from claas.eval.records import Record
from claas.eval.run.files import RESERVED
from claas.eval.verdicts.criteria import CRITERIA
from claas.eval.verdicts.summary import FILE_NAME
from claas.eval.verdicts.verdict import Verdict

CURVE = CRITERIA[0].key
"""What the row draws: the first criterion's measurement, held-out compliance."""

_ROW = "row.json"
_RECORDS = ("metadata.json", "baseline.json", "steps.jsonl")


class State(StrEnum):
    """What has become of a folder of the list."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    STOPPED = "stopped"
    UNREADABLE = "unreadable"
    WAITING = "waiting"


class PreferenceRow(Record):
    """One preference of a run; `curve` is held-out compliance by number of updates, None where it was lost."""

    name: str
    steps_done: int
    steps_planned: int
    verdict: Verdict | None
    reason: str | None
    curve: dict[int, float | None]


class RunRow(Record):
    """One run. `seconds` is the time from step to step, pauses left out; `cost` in the currency of its prices."""

    run_id: str
    created: str
    base_model: str
    mode: str
    seed: int
    state: State
    verdict: Verdict | None
    preferences: tuple[PreferenceRow, ...]
    updates: int
    planned: int
    tokens: int = Field(lt=2**63)
    seconds: float
    cost: float | None
    problems: tuple[str, ...]


class KeptRow(Record):
    """A row, and the files it was made of as they were before they were read."""

    index_version: int
    stamps: dict[str, Stamp | None]
    row: RunRow


@dataclass(frozen=True)
class Listed:
    """A folder of the list: its row, or the problem for which it has none; neither where it has yet to be read."""

    name: str
    row: RunRow | None
    problem: str | None = None

    @property
    def state(self) -> State:
        """A folder without a row is unreadable, or has yet to be read."""
        if self.row is not None:
            return self.row.state
        return State.WAITING if self.problem is None else State.UNREADABLE


def listed(folders: Iterable[Folder], new_rows_s: float) -> list[Listed]:
    """What the list says of folders, from the runs' indices where those are up to date.

    The others are read as long as `new_rows_s` seconds last; those left then are waiting.
    """
    until = time.monotonic() + new_rows_s
    return [_listed(folder, until) for folder in folders]


def keep_row(run: RunIndex) -> None:
    """Keep a run's row for the list; not of one that goes on."""
    _made(run, _stamps(run.files.root))


def overview(run: RunIndex) -> RunRow:
    """The row of a run."""
    summary = run.summary
    records = [record for history in run.histories.values() for record in (history.baseline, *history.steps) if record]
    tokens = sum(amount for record in records for amount in record.tokens.values())
    return RunRow(
        run_id=run.manifest.run_id,
        created=run.manifest.created,
        base_model=str(run.config.base_model),
        mode=run.config.mode,
        seed=run.config.seed,
        state=State(run.status) if run.status else State.STOPPED,
        verdict=summary.verdict if summary and run.status is Status.COMPLETE else None,
        preferences=tuple(_preference(run, name) for name in run.points),
        updates=sum(len(history.steps) for history in run.histories.values()),
        planned=run.config.num_steps * len(run.config.preferences),
        tokens=tokens,
        seconds=sum(map(seconds, run.histories.values())),
        cost=summary.cost if summary else None,
        problems=run.problems,
    )


def _listed(folder: Folder, until: float) -> Listed:
    if folder.problem is not None:
        return Listed(folder.name, None, folder.problem)
    try:
        with readable(folder.name):
            stamps = _stamps(folder.path)
            known = kept(folder.path / FOLDER / _ROW, KeptRow)
            if known is not None and (known.index_version, known.stamps) == (INDEX_VERSION, stamps):
                return Listed(folder.name, known.row)
            if time.monotonic() > until:
                return Listed(folder.name, None)
            return Listed(folder.name, _made(read_run(folder.name, folder.path), stamps))
    except ClaasError as error:
        return Listed(folder.name, None, str(error))


def _made(run: RunIndex, stamps: dict[str, Stamp | None]) -> RunRow:
    """The run's row, kept unless the run goes on; one that goes on later writes its config.json anew."""
    row = overview(run)
    if row.state is not State.RUNNING:
        keep(run.files.root / FOLDER / _ROW, KeptRow(index_version=INDEX_VERSION, stamps=stamps, row=row))
    return row


def _preference(run: RunIndex, name: str) -> PreferenceRow:
    history, found = run.histories[name], run.preference_summary(name)
    return PreferenceRow(
        name=name,
        steps_done=len(history.steps),
        steps_planned=history.planned_steps,
        verdict=found.verdict if found and found.status is Status.COMPLETE else None,
        reason=found.reason if found else None,
        curve=history.curve(CURVE),
    )


def _stamps(root: Path) -> dict[str, Stamp | None]:
    """Of every file that the row depends on."""
    with os.scandir(root) as entries:
        folders = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    inner = [f"{folder}/{name}" for folder in folders if folder not in RESERVED for name in _RECORDS]
    return {name: Stamp.of(root / name) for name in ("config.json", FILE_NAME, *inner)}
