"""What an experiment logger is told of a run. One of your own is a class with these methods, and a YAML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeAlias

from claas.core.errors import MissingExtra

Cell: TypeAlias = str | float | None


@dataclass(frozen=True)
class LoggedRun:
    """A run as a service lists it.

    `name` is that of its `folder`, and `group` the folder of the sweep that it is part of, None where it is of none.
    `settings` are all that decide it, by dotted name, without those of loggers; `facts` are versions, the commit and
    the like; neither has a secret in it. `points_before` counts what an earlier process logged of it.
    """

    name: str
    folder: Path
    group: str | None
    tags: tuple[str, ...]
    settings: Mapping[str, object]
    facts: Mapping[str, str]
    points_before: int = 0


@dataclass(frozen=True)
class LoggedPoint:
    """What a track measured after so many `updates`, 0 being before training, at `time` (seconds since 1970).

    `scalars` are by name, as in `concise/heldout_compliance`; what was not measured is absent.
    """

    track: str
    updates: int
    time: float
    scalars: Mapping[str, float]


@dataclass(frozen=True)
class LoggedTable:
    """Rows under named columns. `note` says what was left out, None where nothing was."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    note: str | None = None


class EndState(StrEnum):
    """How a process left a run; one that did not finish can be continued."""

    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Ending:
    """How it ended, after so many `updates`, and why where it did not finish.

    `verdicts` are by preference, and under `verdict` that of the run. Tables and plots are there once a run came to
    its results, whether or not all of its preferences did.
    """

    state: EndState
    reason: str | None
    updates: int
    verdicts: Mapping[str, str]
    tables: tuple[LoggedTable, ...] = ()
    plots: tuple[Path, ...] = ()


class Logger(Protocol):
    """Shows one run in one service. Made with its settings before anything runs, and then called from one thread.

    Whatever a method raises ends the logger and never the run.
    """

    def start(self, run: LoggedRun, id: str | None) -> str | None:
        """Begin the run, or go on with the one whose `id` this method returned before."""
        ...

    def log(self, point: LoggedPoint) -> None:
        """A measurement, each once and those of a track in order. After a crash the last one may come twice."""
        ...

    def finish(self, ending: Ending) -> None:
        """Nothing more comes from this process; what was logged is to be with the service when this returns."""
        ...


def require_package(package: str, extra: str) -> None:
    """`MissingExtra` where a package is not installed."""
    if find_spec(package) is None:
        raise MissingExtra(package, extra)
