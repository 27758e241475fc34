"""Runs as pandas frames: what `claas.results.runs`, `steps`, `samples` and `criteria` are made of.

Everything but samples comes from the runs' indices, so that no transcript is read twice.
"""

import json
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from claas.core.errors import ClaasError, InvalidInput, MissingExtra
from claas.results.charts import Panel, pictures
from claas.results.columns import CRITERIA, FRAMES_VERSION, RUNS, SAMPLES, STEPS, Column
from claas.results.foreign import OF_KFALLAH_CLAAS, ForeignRun, is_of_kfallah_claas, read_foreign_run
from claas.results.keys import judged
from claas.results.labels import NO_LABELS, read_labels
from claas.results.manifest import PlannedTrack, flat_settings
from claas.results.overview import State, overview, summaries
from claas.results.points import read_measurement
from claas.results.records import SAMPLED, Baseline, History, StepRecord, Transcript, flat
from claas.results.run_index import Folder, RunIndex, errors_named_after, find_runs, read_run
from claas.results.settings import FEEDBACK, ISOLATED, SFT, EvalConfig
from claas.results.transfer import BWT
from claas.results.verdict import Ruling

Places = str | Path | Iterable[str | Path]
"""A run's folder, a folder that runs are in, or several of them."""

Row = tuple[Any, ...]

_OF_A_PREFERENCE = (FEEDBACK, "off_policy", SFT, ISOLATED)
"""Arms whose users say what the preference asks for."""


def runs_frame(places: Places, *, all_settings: bool = False) -> Any:
    """One row a folder, of those that are no readable run, too."""
    rows: list[Row] = []
    settings: list[Mapping[str, Any]] = []
    for folder, run in _read(places):
        rows.append(_run_row(folder, run) if isinstance(run, RunIndex) else _other_row(folder, run))
        settings.append(flat_settings(asdict(run.config)) if isinstance(run, RunIndex) else {})
    frame = _frame(RUNS, rows)
    known = [each for each in settings if each]
    for name in dict.fromkeys(name for each in known for name in each):
        values = [each.get(name) for each in known]
        if name not in _SAID_ELSEWHERE and (all_settings or any(value != values[0] for value in values)):
            frame[name] = _plain([each.get(name) for each in settings])
    return frame


def steps_frame(places: Places) -> Any:
    """One row a measurement and number, and a training figure."""
    return _frame(STEPS, (row for run in _readable(places) for row in _of(run, _step_rows, _foreign_step_rows)))


def samples_frame(places: Places, updates: Collection[int] | None = None) -> Any:
    """One row a transcript, of the measurements after so many updates; of all where that is None."""
    ours, theirs = partial(_sample_rows, updates=updates), partial(_foreign_sample_rows, updates=updates)
    return _frame(SAMPLES, (row for run in _readable(places) for row in _of(run, ours, theirs)))


def criteria_frame(places: Places) -> Any:
    """One row a criterion, as it stands."""
    runs = (run for run in _readable(places) if isinstance(run, RunIndex))
    return _frame(CRITERIA, (row for run in runs for row in _criterion_rows(run)))


def _of(
    run: RunIndex | ForeignRun,
    ours: Callable[[RunIndex], Iterator[Row]],
    theirs: Callable[[ForeignRun], Iterator[Row]],
) -> Iterator[Row]:
    return ours(run) if isinstance(run, RunIndex) else theirs(run)


def _read(places: Places) -> Iterator[tuple[Folder, RunIndex | ForeignRun | str]]:
    """Every folder with its run, or the reason why it is none."""
    for folder in _folders(places):
        if folder.problem == OF_KFALLAH_CLAAS:
            yield folder, read_foreign_run(folder.name, folder.path)
        elif folder.problem is not None:
            yield folder, folder.problem
        else:
            try:
                yield folder, read_run(folder.name, folder.path)
            except ClaasError as error:
                yield folder, str(error)


def _readable(places: Places) -> Iterator[RunIndex | ForeignRun]:
    """Every run that can be read. A run that was named and cannot is an `InvalidInput`; of others a warning tells."""
    given = _as_paths(places)
    left_out: list[str] = []
    for folder, run in _read(given):
        if not isinstance(run, str):
            left_out += [f"{folder.name}: {problem}" for problem in run.problems]
            yield run
        elif folder.path in given:
            raise InvalidInput(run)
        else:
            left_out.append(f"{folder.name}: {run}")
    if left_out:
        warnings.warn(
            f"not all of it is in this frame; claas.results.runs lists everything. {'; '.join(left_out)}", stacklevel=5
        )


def _folders(places: Places) -> list[Folder]:
    """The runs in and below the places, each once, by name; `InvalidInput` where there is none."""
    found: dict[Path, Folder] = {}
    for place in _as_paths(places):
        if not place.is_dir():
            raise InvalidInput(f"there is no folder {place}; name runs, or a folder that they are in")
        inside = _at(place) or _below(place)
        for folder in inside:
            found.setdefault(folder.path.resolve(), folder)
    names = [folder.name for folder in found.values()]
    return [
        folder if names.count(folder.name) == 1 else Folder(str(folder.path), folder.path, folder.problem)
        for folder in found.values()
    ]


def _at(place: Path) -> list[Folder]:
    name = place.resolve().name
    if (place / "config.json").is_file():
        return [Folder(name, place)]
    return [Folder(name, place, OF_KFALLAH_CLAAS)] if is_of_kfallah_claas(place) else []


def _below(place: Path) -> list[Folder]:
    inside = sorted(find_runs(place), key=lambda folder: folder.name)
    if not inside:
        raise InvalidInput(f"{place} is no run, and holds none: there is no config.json in or below it")
    return inside


def _as_paths(places: Places) -> list[Path]:
    given = [places] if isinstance(places, str | Path) else list(places)
    return [Path(place).expanduser() for place in given]


_SAID_ELSEWHERE = ("seed", "protocol.kind", "arm", "controls", "mode", "base_model", "preferences", "output_dir")
"""Settings that have a column already."""


def _run_row(folder: Folder, run: RunIndex) -> Row:
    row = overview(run)
    problems = [f"{name}: {history.failure}" for name, history in run.histories.items() if history.failure]
    problems += run.problems
    try:
        labels = read_labels(folder.path)
    except InvalidInput as error:
        labels = NO_LABELS
        problems.append(str(error))
    return (
        *(run.name, run.config.seed, run.config.protocol.kind, run.config.arm, ", ".join(run.config.controls)),
        *(row.state.value, "; ".join(problems) or None, row.verdict and row.verdict.value),
        *(row.mode, row.base_model, ", ".join(run.config.preferences)),
        *(row.updates, row.planned, row.tokens, row.seconds, row.busy_s, row.cost),
        *(", ".join(labels.tags), labels.note or None, labels.archived),
        *(row.created, run.manifest.versions.get("claas"), run.manifest.git_commit, row.run_id, str(folder.path)),
    )


def _other_row(folder: Folder, run: ForeignRun | str) -> Row:
    known: dict[str, Any] = {
        "run": folder.name,
        "state": State.UNREADABLE.value,
        "problem": run,
        "path": str(folder.path),
    }
    if isinstance(run, ForeignRun):
        updates = sum(len(history.steps) for history in run.histories.values())
        known |= {"state": State.FOREIGN.value, "problem": "; ".join([OF_KFALLAH_CLAAS, *run.problems])}
        known |= {"seed": run.seed, "preferences": ", ".join(run.histories), "updates": updates}
        known |= {name: run.config.get(name) for name in ("mode", "base_model")}
    return tuple(known.get(column.name) for column in RUNS)


@dataclass(frozen=True)
class _Track:
    """One track of a run, and what all rows of it begin with."""

    run: RunIndex
    planned: PlannedTrack
    history: History

    @property
    def start(self) -> Row:
        """The first columns of every row."""
        config, track = self.run.config, self.planned
        return (self.run.name, config.seed, config.protocol.kind, track.arm, track.control_of, track.name)

    @property
    def records(self) -> list[tuple[int, Baseline | StepRecord]]:
        """Every measurement, after so many updates."""
        baseline = [(0, self.history.baseline)] if self.history.baseline else []
        return [*baseline, *((step.step + 1, step) for step in self.history.steps)]

    def taught(self, updates: int) -> str | None:
        """The preference whose feedback made the version after so many updates."""
        if updates == 0 or self.planned.arm not in _OF_A_PREFERENCE:
            return None
        if self.planned.preference not in self.run.config.preferences:  # of several at once
            return ", ".join(self.run.config.preferences)
        flips_at = self.planned.flips_at
        flipped = flips_at is not None and updates > flips_at
        return f"not {self.planned.preference}" if flipped else self.planned.preference

    def measured(self, key: str) -> str:
        """The preference that a number is about: of `across.<preference>` that one."""
        metric, _, part = key.partition(".")
        return self._by_key.get(part, self.planned.preference) if metric == "across" else self.planned.preference

    @cached_property
    def _by_key(self) -> Mapping[str, str]:
        """Preferences by the name that they have in keys, which dots divide."""
        return {name.replace(".", "_"): name for name in self.run.config.preferences}

    def version(self, updates: int, record: Baseline | StepRecord) -> Row:
        """The columns that say which weights were measured."""
        return (updates, record.adapter.version, record.adapter.digest)


def _tracks(run: RunIndex) -> list[_Track]:
    """Those that were started. In an older run a folder may have another name than was planned."""
    planned = {track.name: track for track in run.tracks}
    return [
        _Track(run, planned.get(name) or _unplanned(name, run.config), history)
        for name, history in run.histories.items()
    ]


def _unplanned(name: str, config: EvalConfig) -> PlannedTrack:
    return PlannedTrack(name=name, adapter=name, preference=name, num_steps=config.num_steps, arm=config.arm)


def _step_rows(run: RunIndex) -> Iterator[Row]:
    """As pages have them: the same curves, with the same bands."""
    shown = pictures(run.config.criteria, run.histories, run.interval)
    panels = [panel for picture in shown for panel in picture.panels if panel.curve is History.curve]
    for track in _tracks(run):
        places = {
            updates: (track.taught(updates), *track.version(updates, record), record.timestamp)
            for updates, record in track.records
        }
        for panel in panels:
            yield from _curve_rows(track, panel, places)
        for updates, record in track.records:
            for source, numbers in _figures(record):
                for key, value in numbers.items():
                    taught, *place = places[updates]
                    head = (*track.start, track.planned.preference, taught, *place)
                    yield (*head, source, key, value, None, None)


def _curve_rows(track: _Track, panel: Panel, places: Mapping[int, Row]) -> Iterator[Row]:
    start = (*track.start, track.measured(panel.key))
    intervals = panel.intervals(track.history)
    for updates, value in panel.points(track.history).items():
        interval = intervals.get(updates)
        ends = (interval.low, interval.high) if interval else (None, None)
        yield (*start, *places[updates], "eval", panel.key, value, *ends)


def _figures(record: Baseline | StepRecord) -> Iterator[tuple[str, Mapping[str, float]]]:
    counts = {metric: counted.model_dump() for metric, counted in record.counts.items()}
    yield "counts", {f"{metric}.{how}": n for metric, counted in counts.items() for how, n in counted.items()}
    if isinstance(record, StepRecord):
        yield "sdpo_metrics", record.sdpo_metrics
    yield "timing_s", record.timing_s
    yield "tokens", record.tokens


def _sample_rows(run: RunIndex, updates: Collection[int] | None) -> Iterator[Row]:
    for track in _tracks(run):
        files, points = run.files.preference(track.planned.name), run.points[track.planned.name]
        for after, light in track.records:
            if updates is None or after in updates:
                with errors_named_after(run.name):
                    record = read_measurement(files, points, after)
                head = (*track.start, track.planned.preference, track.taught(after), *track.version(after, light))
                feedback = _feedback(record) if isinstance(record, StepRecord) else {}
                yield from ((*head, *_sample_row(each, feedback)) for each in record.rollouts)


def _feedback(step: StepRecord) -> dict[str, str | None]:
    """What was said of each answer that was trained on, by its rollout."""
    said = step.feedback_by_answer or [step.feedback_given] * len(step.rollout_ids)
    return dict(zip(step.rollout_ids, said, strict=False))


def _sample_row(each: Transcript, feedback: Mapping[str, str | None]) -> Row:
    verdict = each.verdict or {}
    trained = each.metric == SAMPLED and each.rollout_id in feedback
    return (
        *(each.metric, each.item, each.prompt, each.response, verdict.get("score"), verdict.get("passed"), each.error),
        *(trained, feedback.get(each.rollout_id or "") if trained else None),
        *(each.finish_reason, each.temperature, each.seed, each.prompt_tokens, each.completion_tokens),
        *(None if each.logprobs is None else math.fsum(each.logprobs), each.mean_entropy, each.rollout_id),
        json.dumps(verdict, ensure_ascii=False) if verdict else None,
    )


def _foreign(run: ForeignRun) -> Iterator[tuple[Row, int, Baseline | StepRecord]]:
    """Every measurement, with what its rows begin with; of no adapter is known which version it was."""
    for name, history in run.histories.items():
        start = (run.name, run.seed, None, FEEDBACK, None, name, name)
        if history.baseline:
            yield (*start, None, 0, None, None), 0, history.baseline
        for step in history.steps:
            yield (*start, name, step.step + 1, None, None), step.step + 1, step


def _foreign_step_rows(run: ForeignRun) -> Iterator[Row]:
    for head, _, record in _foreign(run):
        place = (*head, record.timestamp or None)
        for key, value in flat(record.eval).items():
            yield (*place, "eval", key, value, None, None)
        for source, numbers in _figures(record):
            yield from ((*place, source, key, value, None, None) for key, value in numbers.items())


def _foreign_sample_rows(run: ForeignRun, updates: Collection[int] | None) -> Iterator[Row]:
    for head, after, record in _foreign(run):
        if updates is None or after in updates:
            yield from ((*head, *_sample_row(each, {})) for each in record.rollouts)


def _criterion_rows(run: RunIndex) -> Iterator[Row]:
    confidence = run.config.confidence
    with errors_named_after(run.name):
        found = summaries(run)
    for track in _tracks(run):
        judgement = found[track.planned.name]
        keys = {criterion.name: key.key for key, criterion in judged(track.history.keys)}
        for name, ruling in judgement.criteria.items():
            key = keys.get(name)
            updates = judgement.finals_at.get(key or "")
            complete = track.history.status == "complete"
            head = (*track.start, track.planned.preference, name, key, updates)
            yield (*head, *_ruling(ruling, confidence, complete))
    transfer = run.summary.transfer if run.summary else None
    if transfer is not None and BWT.criterion is not None:
        done = all(stage.done for stage in transfer.stages)
        head = (run.name, run.config.seed, run.config.protocol.kind, run.config.arm, None, None, None)
        yield (*head, BWT.criterion.name, BWT.key, None, *_ruling(transfer.ruling, confidence, done))


def _ruling(ruling: Ruling, confidence: float, complete: bool) -> Row:
    low, high = ruling.ci or (None, None)
    return (
        *(ruling.value, low, high, confidence, ruling.relation, ruling.threshold, ruling.n, ruling.p, ruling.p_holm),
        *(ruling.verdict.value, complete, ruling.note, ruling.formula),
    )


def _frame(columns: Sequence[Column], rows: Iterable[Row]) -> Any:
    """The rows as a frame that has these columns in any case."""
    pandas = _pandas()
    by_column = list(zip(*rows, strict=True)) or [()] * len(columns)
    series = {
        column.name: pandas.Series(_parsed(values, column), dtype=column.kind)
        for column, values in zip(columns, by_column, strict=True)
    }
    frame = pandas.DataFrame(series)
    frame.attrs["schema_version"] = FRAMES_VERSION
    return frame


def _parsed(values: Sequence[Any], column: Column) -> Any:
    if column.kind.startswith("datetime"):
        return _pandas().to_datetime(list(values), utc=True, format="ISO8601")
    return list(values)


def _plain(values: Sequence[Any]) -> Any:
    """A setting's values as a column that every file format takes: numbers, flags or texts, never a mixture."""
    kinds: set[type] = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return _pandas().array(list(values), dtype="boolean")
    if kinds == {int}:
        return _pandas().array(list(values), dtype="Int64")
    if kinds <= {int, float}:
        return _pandas().array([math.nan if value is None else value for value in values], dtype="float64")
    return _pandas().array([None if value is None else _text(value) for value in values], dtype="str")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, cast(list[Any], value)))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pandas() -> Any:
    try:
        return import_module("pandas")
    except ImportError:
        raise MissingExtra("pandas", "data") from None
