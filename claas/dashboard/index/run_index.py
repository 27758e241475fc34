"""Everything about one run but its transcripts, from its records and the index kept beside them."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from claas.core.errors import ClaasError, InvalidInput, StackError
from claas.core.files import read_text
from claas.core.locks import is_locked
from claas.dashboard.index.kept import keep, kept
from claas.dashboard.index.points import Points, Stamp, read_points
from claas.dashboard.index.run_folders import shown
from claas.eval.config.typed import eval_config
from claas.eval.history import History, Status
from claas.eval.records import Metadata
from claas.eval.run.files import RESERVED, RunFiles, parsed
from claas.eval.run.manifest import Manifest, read_manifest
from claas.eval.types import EvalConfig
from claas.eval.verdicts.statistics import Interval
from claas.eval.verdicts.summary import FILE_NAME, PreferenceSummary, Summary

FOLDER = ".pages"
"""Where a run's index is kept, in its own folder. It can be deleted at any time: it is made anew from the records."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunIndex:
    """A run whose config.json could be read. `problems` say what else could not.

    `summary` is None before the first preference has ended. `held`: a process works on the run now; `continued`: and
    has not written a summary yet, so that the one there is tells how an earlier attempt ended.
    """

    name: str
    files: RunFiles
    manifest: Manifest
    config: EvalConfig
    summary: Summary | None
    points: Mapping[str, Points]
    metadata: Mapping[str, Metadata | None]
    held: bool
    continued: bool
    problems: tuple[str, ...]

    @cached_property
    def histories(self) -> dict[str, History]:
        """The curves of every preference that has begun, without transcripts."""
        return {
            name: points.history(name, self.config.num_steps, self._failure(name))
            for name, points in self.points.items()
        }

    def preference_summary(self, name: str) -> PreferenceSummary | None:
        """What the summary says of a preference; None while it is not in it, or has gone on since."""
        found = self.summary.preferences.get(name) if self.summary is not None else None
        points = self.points.get(name)
        if found is None or points is None or found.steps_done != len(points.points):
            return None
        return None if found.failure is not None and self.continued else found

    def interval(self, history: History, updates: int, criterion: str) -> Interval | None:
        """The interval of a criterion of a preference's measurement, None where there is none."""
        return self.points[history.preference].interval(updates, criterion)

    @property
    def status(self) -> Status | None:
        """None for a run that was stopped: not all of it is done, and nobody works on it."""
        if self.held:
            return Status.RUNNING
        found = [history.status for history in self.histories.values()]
        if Status.FAILED in found:
            return Status.FAILED
        done = len(found) == len(self.config.preferences) and set(found) == {Status.COMPLETE}
        return Status.COMPLETE if done else None

    def _failure(self, name: str) -> str | None:
        """Why a preference ended early; None, too, once its run goes on."""
        found = self.preference_summary(name)
        return found.failure if found is not None else None


def read_run(name: str, folder: Path, *, ended: bool = False) -> RunIndex:
    """The run in `folder`; `InvalidInput` when it has no config.json that this version can read.

    `ended` is for who holds the run's lock, and has nothing more to add to it.
    """
    files = RunFiles(folder)
    with readable(name):
        return _read(name, files, held=not ended and is_locked(files.lock))


@contextmanager
def readable(name: str) -> Generator[None]:
    """Turn what the file system refuses, and numbers that break arithmetic, into an error that names the run."""
    try:
        yield
    except ClaasError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise StackError(f"the run {name} cannot be read: {where}{error.strerror}") from error
    except (ValueError, ArithmeticError) as error:
        raise InvalidInput(f"the run {name} has numbers that nothing can be computed from: {_why(error)}") from error


def _why(error: Exception) -> str:
    """In one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


def _read(name: str, files: RunFiles, *, held: bool) -> RunIndex:
    """The lock was looked at before: what is read of a run that nobody holds is all that there will be."""
    manifest = read_manifest(files)
    config = _config(files, manifest)
    problems: list[str] = []
    begun = _begun(files, config, problems)
    points = {each: _points(files, each, config.criteria.confidence) for each in begun}
    problems += [found.damage for found in points.values() if found.damage is not None]
    return RunIndex(
        name=name,
        files=files,
        manifest=manifest,
        config=config,
        summary=_unless_damaged(lambda: _summary(files.root), problems),
        points=points,
        metadata={each: _unless_damaged(files.preference(each).read_metadata, problems) for each in begun},
        held=held,
        continued=held and not _newer(files.root / FILE_NAME, files.config),
        problems=tuple(problems),
    )


def _config(files: RunFiles, manifest: Manifest) -> EvalConfig:
    try:
        return eval_config(manifest.config)
    except InvalidInput as error:
        raise InvalidInput(f"{files.config} is not of this version: {error}") from error


def _begun(files: RunFiles, config: EvalConfig, problems: list[str]) -> list[str]:
    """The preferences that have a folder, in the configuration's order; one that came from a file has its own name."""
    records = [path for kind in ("metadata.json", "baseline.json") for path in files.root.glob(f"*/{kind}")]
    folders = {path.parent for path in records if path.parent.name not in RESERVED and path.parent.name[0] != "."}
    strange = sorted(folder for folder in folders if folder.is_symlink() or shown(folder.name) != folder.name)
    problems += [f"{shown(folder.name)} is not read: it is a link, or its name is not UTF-8" for folder in strange]
    found = {folder.name for folder in folders.difference(strange)}
    named = [name for name in config.preferences if name in found]
    return named + sorted(found - set(named))


def _points(files: RunFiles, preference: str, confidence: float) -> Points:
    """The preference's index, brought up to date and kept; where it cannot be kept, it is made anew each time."""
    place = files.root / FOLDER / "points" / f"{preference}.json"
    known = kept(place, Points)
    found = read_points(files.preference(preference), known, confidence)
    if found is not known:
        keep(place, found)
    return found


def _summary(folder: Path) -> Summary | None:
    path = folder / FILE_NAME
    return parsed(path, read_text(path), Summary) if path.exists() else None


def _newer(path: Path, other: Path) -> bool:
    """Whether `path` was written after `other`; no file was."""
    one, two = Stamp.of(path), Stamp.of(other)
    return one is not None and (two is None or one.mtime_ns >= two.mtime_ns)


def _unless_damaged(read: Callable[[], T], problems: list[str]) -> T | None:
    """What `read` gives; None, and what is wrong among the problems, when it cannot."""
    try:
        return read()
    except InvalidInput as error:
        problems.append(str(error))
        return None
