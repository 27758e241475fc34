"""Runs that are to be seeds of one configuration, or of two: read without most of their transcripts, and checked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from claas.core.errors import InvalidInput
from claas.core.files import read_bytes, read_text
from claas.results.manifest import Manifest, PlannedTrack, measured_settings, planned_tracks, read_manifest
from claas.results.records import History, Metadata, Status, StepRecord, rounds_held
from claas.results.run_files import PreferenceFiles, RunFiles, declared_keys, parsed
from claas.results.settings import EvalConfig, recorded_config
from claas.results.summary import FILE_NAME, Summary

SEED = "seed"
_DIGEST = "the digest of"


@dataclass(frozen=True)
class SeedRun:
    """One run, without its control arms. `settings` are all that may change a measurement, the seed too, with what was
    measured by its digest; histories have transcripts at baseline and where each key was due last. `summary` is None
    before the first preference has ended."""

    folder: Path
    manifest: Manifest
    config: EvalConfig
    tracks: Sequence[PlannedTrack]
    settings: Mapping[str, JsonValue]
    histories: Mapping[str, History]
    summary: Summary | None

    @property
    def seed(self) -> int:
        """What tells it from the others."""
        return self.config.seed

    def is_complete(self, track: str) -> bool:
        """Whether every step of a track is on record."""
        return track in self.histories and self.histories[track].status is Status.COMPLETE


@dataclass(frozen=True)
class SeedRuns:
    """The runs of one configuration, one for each seed; `value` is that of the setting that is compared."""

    value: JsonValue
    runs: Sequence[SeedRun]

    @property
    def by_seed(self) -> dict[int, SeedRun]:
        """The runs by their seed."""
        return {run.seed: run for run in self.runs}


def read_seed_run(folder: Path) -> SeedRun:
    """The run in a folder; `InvalidInput` where it is none, or is damaged."""
    files = RunFiles(folder)
    manifest = read_manifest(files)
    try:
        config = recorded_config(manifest.config)
    except InvalidInput as error:
        raise InvalidInput(f"{files.config} is not of this version: {error}") from error
    tracks = [track for track in planned_tracks(config, manifest.tracks) if track.control_of is None]
    metadata = {track.name: files.preference(track.name).read_metadata() for track in tracks}
    return SeedRun(
        folder=folder,
        manifest=manifest,
        config=config,
        tracks=tracks,
        settings=measured_settings(config) | _digests(metadata),
        histories={track.name: _history(files.preference(track.name), track, metadata[track.name]) for track in tracks},
        summary=_summary(files.root / FILE_NAME),
    )


def settings_of(runs: Sequence[SeedRun], by: str | None = None) -> tuple[str | None, list[SeedRuns]]:
    """The one configuration that the runs have, or the two that differ in the setting `by` alone, and which that is.

    Of two numbers the smaller is first. `InvalidInput` names every other difference. Of runs with the same seed, which
    are no independent ones, the first counts.
    """
    if not runs:
        raise InvalidInput("there is no run: name folders of runs, or a folder that they are in")
    found = differing(runs)
    if any(name.startswith(_DIGEST) for name in found) and any(run.config.limit for run in runs):
        raise InvalidInput("limit drew other items for every seed: runs to be judged over seeds are made without it")
    if by is not None and by not in found:
        known = f"they differ in {', '.join(found)}" if found else "they differ in their seed alone"
        raise InvalidInput(f"--by {by}: all runs have the same; {known}")
    if by is None and len(found) == 1:
        by = next(iter(found))
    values = {} if by is None else {_text(run.settings.get(by)): run.settings.get(by) for run in runs}
    others = [name for name in found if name != by]
    if others or len(values) > 2:
        said = "; ".join(_said(name, runs) for name in others or [str(by)])
        raise InvalidInput(
            f"runs of different configurations are no seeds of one: {said}. Give runs that differ in their seed alone, "
            "or in one setting besides, of which they have two values"
        )
    if by is None:
        return None, [SeedRuns(None, _one_per_seed(runs))]
    in_order = sorted(values.items(), key=lambda pair: pair[1] if isinstance(pair[1], int | float) else 0)
    return by, [
        SeedRuns(value, _one_per_seed([run for run in runs if _text(run.settings.get(by)) == text]))
        for text, value in in_order
    ]


def differing(runs: Sequence[SeedRun]) -> list[str]:
    """The settings, the seed left out, that are not the same in all of the runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name != SEED)
    return [name for name in names if len({_text(run.settings.get(name)) for run in runs}) > 1]


def _said(name: str, runs: Sequence[SeedRun]) -> str:
    """A difference, with a run that has each value."""
    first = {_text(run.settings.get(name)): run.folder for run in reversed(runs)}
    return f"{name} is " + ", ".join(f"{value} in {folder}" for value, folder in reversed(first.items()))


def _one_per_seed(runs: Sequence[SeedRun]) -> list[SeedRun]:
    first = {run.seed: run for run in reversed(runs)}
    return [first[seed] for seed in sorted(first)]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _digests(metadata: Mapping[str, Metadata | None]) -> dict[str, str | None]:
    """What tells measurements apart that have the same name; a track that was not started says nothing."""
    digests: dict[str, str | None] = {}
    for name, each in metadata.items():
        if each is not None:
            digests[f"{_DIGEST} preference {name}"] = each.preference_digest
            digests[f"{_DIGEST} the metrics of {name}"] = each.metrics_digest
    return digests


def _history(files: PreferenceFiles, track: PlannedTrack, metadata: Metadata | None) -> History:
    """The track's records, with transcripts only where a key that is a mean over items was due last."""
    lines = _lines(files.steps)
    steps = [_parsed(files.steps, number, _without_transcripts(line)) for number, line in enumerate(lines)]
    held = rounds_held(track.num_steps, steps)
    history = History(track.name, held, files.read_baseline(), tuple(steps), keys=declared_keys(metadata))
    for updates in {history.last_due(key.key) for key in history.keys if key.items is not None}:
        if updates is not None:
            steps[updates - 1] = _parsed(files.steps, updates - 1, lines[updates - 1])
    return replace(history, steps=tuple(steps))


def _lines(path: Path) -> list[bytes]:
    """Every whole line, without a torn last one."""
    try:
        return read_bytes(path).split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error


_PARTS = ((b',"canary":', b',"feedback_given":', b""), (b',"rollouts":[', b'],"timing_s":{', b',"rollouts":['))
"""What is nearly all of a step's line, and not parsed: where it begins, what follows it, and what is left of it.

Within a text quotes are escaped, so that these marks stand only where a record has its keys. A line without them, as
somebody else may have written it, is parsed whole.
"""


def _without_transcripts(line: bytes) -> bytes:
    for begins, follows, left in _PARTS:
        start, end = line.find(begins), line.rfind(follows)
        if 0 <= start < end:
            line = line[:start] + left + line[end:]
    return line


def _parsed(path: Path, number: int, line: bytes) -> StepRecord:
    try:
        step = parsed(path, line.decode(), StepRecord)
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is damaged at line {number + 1}: it is not UTF-8") from None
    if step.step != number:
        raise InvalidInput(f"{path} is damaged: line {number + 1} is of step {step.step}, not {number}")
    return step


def _summary(path: Path) -> Summary | None:
    return parsed(path, read_text(path), Summary) if path.exists() else None
