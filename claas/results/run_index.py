"""The runs below a results folder, and everything about one but its transcripts: its records, and their index."""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from claas.core.checks import first_problem
from claas.core.errors import BadRequest, ClaasError, InvalidInput, NotFound, StackError
from claas.core.files import is_locked, read_text
from claas.results.foreign import OF_KFALLAH_CLAAS, is_of_kfallah_claas
from claas.results.keys import Key
from claas.results.manifest import (
    Manifest,
    PlannedTrack,
    planned_tracks,
    read_manifest,
)
from claas.results.points import Points, Stamp, read_cached, read_points, write_cached
from claas.results.records import History, Metadata, Status, rounds_held
from claas.results.run_files import RESERVED, RunFiles, declared_keys, parsed
from claas.results.settings import EvalConfig, recorded_config
from claas.results.statistics import Interval
from claas.results.summary import FILE_NAME, PreferenceSummary, Summary

_DEEPEST = 3


@dataclass(frozen=True)
class Folder:
    """A folder by its name below the results folder; `problem` says why it is no run, None when it is one."""

    name: str
    path: Path
    problem: str | None = None


def results_folder(root: Path, asked: str | None) -> Path:
    """The folder that `asked` names, `root` when it names none; `BadRequest` when it lies outside `root`."""
    if asked is None:
        return root
    if not is_below(root, Path(asked)):
        raise BadRequest(
            f"results_dir={asked} is outside of {root}, which is all that this API shows; start it with "
            "results_dir=... to show another folder"
        )
    return Path(asked)


def run_folder(results: Path, name: str) -> Path:
    """The folder of the run called `name`; `BadRequest` when that leads outside, `NotFound` when nothing is there."""
    if not is_below(results, results / name) or (results / name).resolve() == results.resolve():
        raise BadRequest(f"run={name} is not a folder below {results}")
    if not _is_folder(results / name):
        raise NotFound(f"there is no run {name} in {results}")
    return results / name


def find_runs(results: Path) -> list[Folder]:
    """Every run below `results`, and what looks as if it should be one; in no order. No folder is no run."""
    try:
        return list(_found(results, results, _DEEPEST)) if results.is_dir() else []
    except OSError as error:
        raise StackError(f"cannot read the results folder {results}: {error.strerror or error}") from error


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders that are runs, and those of the runs below the others, each once."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InvalidInput(f"there is no folder {folder}; name runs, or a folder that they are in")
        is_run = (folder / "config.json").is_file()
        within = [folder] if is_run else [each.path for each in find_runs(folder) if each.problem is None]
        if not within:
            raise InvalidInput(f"{folder} is no run, and holds none: there is no config.json in or below it")
        found |= {each.resolve(): each for each in sorted(within)}
    return list(found.values())


def shown(name: str) -> str:
    """A file's name as a page can show it: what is not UTF-8 in it is replaced, and marked so."""
    return os.fsencode(name).decode(errors="replace")


def _found(results: Path, folder: Path, depth: int) -> Iterator[Folder]:
    for entry in os.scandir(folder):
        if not entry.name.startswith("."):
            try:
                yield from _at(results, Path(entry.path), depth) if entry.is_dir() else []
            except OSError as error:
                name = shown(_name(results, Path(entry.path)))
                yield Folder(name, Path(entry.path), f"it cannot be read: {error.strerror}")


def _at(results: Path, path: Path, depth: int) -> list[Folder]:
    """What the list says of a folder: one entry, or those of the runs inside it."""
    name = _name(results, path)
    if shown(name) != name:
        return [Folder(shown(name), path, "its name is not UTF-8, so no address can name it; rename it")]
    if not is_below(results, path):
        return [Folder(name, path, "a link to a folder elsewhere, which is not followed")]
    if (path / "config.json").is_file():
        return [Folder(name, path)]
    inner = list(_found(results, path, depth - 1)) if depth > 1 else []
    return inner if any(inside.problem is None for inside in inner) else [Folder(name, path, _why_no_run(path))]


def _why_no_run(path: Path) -> str:
    if is_of_kfallah_claas(path):
        return OF_KFALLAH_CLAAS
    held = sorted(shown(name) for name in os.listdir(path) if not name.startswith("."))
    return f"no run: it holds {held[0]} but no config.json" if held else "no run: an empty folder"


def _name(results: Path, path: Path) -> str:
    return path.relative_to(results).as_posix()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name, a folder that may not be entered
        return False


def is_below(root: Path, path: Path) -> bool:
    """Whether `path` is `root` or below it, links followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL in it, a circle of links
        return False


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
        """The curves of every preference that was started, without transcripts."""
        return {
            name: points.history(name, self.planned_steps(name), self._failure(name))
            for name, points in self.points.items()
        }

    @property
    def tracks(self) -> Sequence[PlannedTrack]:
        """What the run is made of."""
        return planned_tracks(self.config, self.manifest.tracks)

    def planned_steps(self, name: str) -> int:
        """How many steps a track has: fewer than were planned where its user fell silent."""
        planned = next((track.num_steps for track in self.tracks if track.name == name), self.config.num_steps)
        return rounds_held(planned, (point.record for point in self.points[name].points) if name in self.points else ())

    def preference_summary(self, name: str) -> PreferenceSummary | None:
        """What the summary says of a preference; None while it is not in it, or has gone on since."""
        summary = self.summary.preferences.get(name) if self.summary is not None else None
        points = self.points.get(name)
        if summary is None or points is None or summary.steps_done != len(points.points):
            return None
        return None if summary.failure is not None and self.continued else summary

    def interval(self, history: History, updates: int, criterion: str) -> Interval | None:
        """The interval of a criterion of a preference's measurement, None where there is none."""
        return self.points[history.preference].interval(updates, criterion)

    @property
    def status(self) -> Status | None:
        """How far the run has come; None for one that was stopped: it is not done, and nobody works on it."""
        if self.held:
            return Status.RUNNING
        statuses = [history.status for history in self.histories.values()]
        if Status.FAILED in statuses:
            return Status.FAILED
        done = len(statuses) == len(self.tracks) and set(statuses) == {Status.COMPLETE}
        return Status.COMPLETE if done else None

    def _failure(self, name: str) -> str | None:
        """Why a preference ended early; None, too, once its run goes on."""
        summary = self.preference_summary(name)
        return summary.failure if summary is not None else None


def read_run(name: str, folder: Path, *, ended: bool = False) -> RunIndex:
    """The run in `folder`; `InvalidInput` when it has no config.json that this version can read.

    `ended` is for who holds the run's lock, and has nothing more to add to it.
    """
    files = RunFiles(folder)
    with errors_named_after(name):
        return _read(name, files, held=not ended and is_locked(files.lock))


@contextmanager
def errors_named_after(name: str) -> Generator[None]:
    """Turn what the file system refuses, and numbers that break arithmetic, into an error that names the run."""
    try:
        yield
    except ClaasError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise StackError(f"the run {name} cannot be read: {where}{error.strerror}") from error
    except (ValueError, ArithmeticError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else error
        raise InvalidInput(f"the run {name} has numbers that nothing can be computed from: {why}") from error


def _read(name: str, files: RunFiles, *, held: bool) -> RunIndex:
    """The lock was looked at before: what is read of a run that nobody holds is all that there will be."""
    manifest = read_manifest(files)
    config = _config(files, manifest)
    problems: list[str] = []
    started = _started(files, planned_tracks(config, manifest.tracks), problems)
    unreadable: list[str] = []
    metadata = {name: _unless_damaged(files.preference(name).read_metadata, unreadable) for name in started}
    points = {name: _points(files, name, config.confidence, declared_keys(metadata[name])) for name in started}
    problems += [index.damage for index in points.values() if index.damage is not None]
    summary = _unless_damaged(lambda: _summary(files.root), problems)
    problems += unreadable
    return RunIndex(
        name=name,
        files=files,
        manifest=manifest,
        config=config,
        summary=summary,
        points=points,
        metadata=metadata,
        held=held,
        continued=held and not _newer(files.root / FILE_NAME, files.config),
        problems=tuple(problems),
    )


def _config(files: RunFiles, manifest: Manifest) -> EvalConfig:
    try:
        return recorded_config(manifest.config)
    except InvalidInput as error:
        raise InvalidInput(f"{files.config} is not of this version: {error}") from error


def _started(files: RunFiles, tracks: Sequence[PlannedTrack], problems: list[str]) -> list[str]:
    """The tracks that have a folder, in their order; in an older run one may have another name than was planned."""
    records = [path for kind in ("metadata.json", "baseline.json") for path in files.root.glob(f"*/{kind}")]
    folders = {path.parent for path in records if path.parent.name not in RESERVED and path.parent.name[0] != "."}
    strange = sorted(folder for folder in folders if folder.is_symlink() or shown(folder.name) != folder.name)
    problems += [f"{shown(folder.name)} is not read: it is a link, or its name is not UTF-8" for folder in strange]
    names = {folder.name for folder in folders.difference(strange)}
    named = [track.name for track in tracks if track.name in names]
    return named + sorted(names - set(named))


def _points(files: RunFiles, preference: str, confidence: float, keys: tuple[Key, ...]) -> Points:
    """The preference's index, brought up to date and kept; where it cannot be kept, it is made anew each time."""
    place = files.root / FOLDER / "points" / f"{preference}.json"
    cached = read_cached(place, Points)
    points = read_points(files.preference(preference), cached, confidence, keys)
    if points is not cached:
        write_cached(place, points)
    return points


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
