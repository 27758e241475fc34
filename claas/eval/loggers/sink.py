"""A logger at work: in a thread of its own, each measurement once, and whatever it does, the run goes on."""

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from queue import SimpleQueue

from pydantic import Field, ValidationError

from claas.core.files import write_atomically
from claas.core.redaction import without_secrets
from claas.eval.loggers.logger import Ending, LoggedPoint, LoggedRun, Logger
from claas.results.records import Record

FOLDER = ".loggers"
"""In a run's folder: what each logger has been told, so that it is told the rest."""


class Told(Record):
    """What a service has of a run: the `id` it goes on with, how many measurements of each track, and how it ended."""

    id: str | None = None
    points: dict[str, int] = Field(default_factory=dict[str, int])
    ended: str | None = None


class _Signal(Enum):
    START = "start"
    END = "end"


class Sink:
    """Where a run's events go for one logger. `say` is told, once, when it fails."""

    def __init__(self, name: str, logger: Logger, run: LoggedRun, say: Callable[[str], None]) -> None:
        self.name = name
        self._logger = logger
        self._file = run.folder / FOLDER / f"{name}.json"
        self._told = _read(self._file)
        self._run = replace(run, points_before=sum(self._told.points.values()))
        self._say = say
        self._known = dict(self._told.points)
        self._events: SimpleQueue[LoggedPoint | Ending | _Signal] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failed = threading.Lock()

    def start(self) -> None:
        """Let the run appear; without it, it does with the first thing that there is to say."""
        self._put(_Signal.START)

    def log(self, point: LoggedPoint) -> None:
        """A measurement, unless the service has it."""
        if point.updates >= self._known.get(point.track, 0):
            self._known[point.track] = point.updates + 1
            self._put(point)

    def finish(self, ending: Ending) -> None:
        """The end, unless nothing came since the service was told of the same one."""
        if self._thread is not None or self._told.ended != _digest(ending):
            self._put(ending)

    def close(self, within_s: float) -> None:
        """Wait until the logger has done everything; one that takes longer is left behind."""
        if self._thread is None:
            return
        self._events.put(_Signal.END)
        self._thread.join(within_s)
        if self._thread.is_alive():
            self._fail("it did not end in time (logger_wait_s)")

    def _put(self, event: LoggedPoint | Ending | _Signal) -> None:
        if self._thread is None:  # not of concurrent.futures, which waits at exit for a thread that hangs
            self._thread = threading.Thread(target=self._work, name=f"claas-logger-{self.name}", daemon=True)
            self._thread.start()
        self._events.put(event)

    def _work(self) -> None:
        try:
            self._begin()
            while (event := self._events.get()) is not _Signal.END:
                self._take(event)
        except BaseException as error:  # of a package of another's, whose SystemExit is no more than its failure
            self._fail(f"{type(error).__name__}: {' '.join(without_secrets(str(error)).split())}")

    def _begin(self) -> None:
        id = self._logger.start(self._run, self._told.id)
        self._tell(self._told.model_copy(update={"id": id, "ended": None}))
        self._settled = dict(self._told.points)

    def _take(self, event: LoggedPoint | Ending | _Signal) -> None:
        if isinstance(event, LoggedPoint):
            self._logger.log(event)
            before, self._settled = self._settled, {**self._settled, event.track: event.updates + 1}
            # A service takes things in a little later: this one counts as told once the next has been.
            self._tell(self._told.model_copy(update={"points": before}))
        elif isinstance(event, Ending):
            self._logger.finish(event)
            self._tell(self._told.model_copy(update={"points": self._settled, "ended": _digest(event)}))

    def _tell(self, told: Told) -> None:
        self._told = told
        write_atomically(self._file, told.model_dump_json(indent=2) + "\n")

    def _fail(self, why: str) -> None:
        if self._failed.acquire(blocking=False):  # once, whoever finds out first
            self._say(
                f"logger {self.name}: {why}. The run goes on without it, and its files have everything; the same "
                f"command again logs the rest, or all of it once {self._file} is deleted"
            )


def _read(file: Path) -> Told:
    """What stands there; what cannot be read is nothing."""
    with suppress(OSError, ValidationError):
        return Told.model_validate_json(file.read_bytes())
    return Told()


def _digest(ending: Ending) -> str:
    return hashlib.sha256(repr(ending).encode()).hexdigest()
