"""Everything about one run but its transcripts, from its records and the index kept beside them."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from claas.core.errors import InvalidInput, StackError
from claas.core.files import read_text, write_atomically
from claas.core.locks import is_locked
from claas.dashboard.points import Points, read_points
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

    `summary` is None before the first preference has ended. `held`: a process works on the run now.
    """

    name: str
    files: RunFiles
    manifest: Manifest
    config: EvalConfig
    summary: Summary | None
    points: Mapping[str, Points]
    metadata: Mapping[str, Metadata | None]
    held: bool
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
        return found if found and points and found.steps_done == len(points.points) else None

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
        """Why a preference ended early; not known any more once its run goes on."""
        found = self.preference_summary(name)
        return None if self.held or found is None else found.failure


def read_run(name: str, folder: Path) -> RunIndex:
    """The run in `folder`; `InvalidInput` when it has no config.json that this version can read."""
    files = RunFiles(folder)
    manifest = read_manifest(files)
    config = eval_config(manifest.config)
    begun = _begun(files, config)
    problems: list[str] = []
    points = {each: _points(files, each, config.criteria.confidence) for each in begun}
    problems += [found.damage for found in points.values() if found.damage is not None]
    return RunIndex(
        name=name,
        files=files,
        manifest=manifest,
        config=config,
        summary=_unless_damaged(lambda: _summary(folder), problems),
        points=points,
        metadata={each: _unless_damaged(files.preference(each).read_metadata, problems) for each in begun},
        held=is_locked(files.lock),
        problems=tuple(problems),
    )


def _begun(files: RunFiles, config: EvalConfig) -> list[str]:
    """The preferences that have a folder, in the configuration's order; one that came from a file has its own name."""
    found = {path.parent.name for kind in ("metadata.json", "baseline.json") for path in files.root.glob(f"*/{kind}")}
    named = [name for name in config.preferences if name in found]
    return named + sorted(found - set(named) - RESERVED)


def _points(files: RunFiles, preference: str, confidence: float) -> Points:
    """The preference's index, brought up to date and kept; where it cannot be kept, it is made anew each time."""
    kept = files.root / FOLDER / f"{preference}.json"
    known = _kept(kept)
    found = read_points(files.preference(preference), known, confidence)
    if found is not known:
        with suppress(StackError):  # a folder that may only be read, a full disk: the page is right without
            write_atomically(kept, found.model_dump_json())
    return found


def _kept(path: Path) -> Points | None:
    """None where there is no index, or one of another version."""
    try:
        return Points.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _summary(folder: Path) -> Summary | None:
    path = folder / FILE_NAME
    return parsed(path, read_text(path), Summary) if path.exists() else None


def _unless_damaged(read: Callable[[], T], problems: list[str]) -> T | None:
    """What `read` gives; None, and what is wrong among the problems, when it cannot."""
    try:
        return read()
    except InvalidInput as error:
        problems.append(str(error))
        return None
