"""One run as a page: what was found, how it went, and where to read what was said."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from claas.core.errors import InvalidInput, NotFound
from claas.dashboard.answers import Conclusion, answers
from claas.dashboard.charts import charts_of
from claas.dashboard.drawings import FlipDrawing, flip_drawing
from claas.dashboard.pages import Addresses, render
from claas.results.charts import declared_in
from claas.results.efficiency import flip_of, in_user_units
from claas.results.foreign import ForeignRun
from claas.results.keys import Key, keys_of_schema_1, titles
from claas.results.labels import NO_LABELS, Labels, read_labels
from claas.results.overview import RunRow, overview, step_seconds, summaries
from claas.results.progress import ProgressLine, columns, lost, seconds_left
from claas.results.records import Baseline, History, Metadata, Status, StepRecord, flat
from claas.results.run_files import RunFiles
from claas.results.run_index import RunIndex, errors_named_after
from claas.results.summary import PreferenceSummary
from claas.results.user_agreement import in_words

_NAME = re.compile(r"[a-z0-9_-]{1,64}")


def picture_names(folder: Path) -> list[str]:
    """The pictures in the run's plots folder, by name; files that a run does not make are none."""
    return sorted(path.stem for path in RunFiles(folder).plots.glob("*.png") if _is_picture(path))


def plot_file(folder: Path, picture: str) -> Path:
    """The file of a picture, by its name; `NotFound` when the run has none of that name."""
    path = RunFiles(folder).plots / f"{picture}.png"
    if not _NAME.fullmatch(picture) or not _is_picture(path):
        raise NotFound(f"the run has no picture called {picture[:64]!r}")
    return path


def _is_picture(path: Path) -> bool:
    """Links are not followed."""
    whole = bool(_NAME.fullmatch(path.stem)) and path.is_file()
    return whole and not path.is_symlink() and not path.parent.is_symlink()


SHOWN_ITEMS = 8
"""Items of a set whose answers stand on the page of a run, either way."""


@dataclass(frozen=True)
class StepRow:
    """One measurement in the table of steps; `seconds` is None for the baseline."""

    updates: int
    values: Mapping[str, float | None]
    lost: str | None
    seconds: float | None


@dataclass(frozen=True)
class PreferenceView:
    """One preference: its findings, its progress as the terminal shows it, and its steps.

    `user_units` say what learning it cost its user, None of a control and where nothing shows it. `user` says how one
    who is played by a model agrees with the verifier, None where none is. `flip` is of one who changes their mind.
    """

    name: str
    summary: PreferenceSummary
    progress: ProgressLine
    answers: Sequence[Conclusion]
    steps: Sequence[StepRow]
    metadata: Metadata | None
    titles: Mapping[str, str]
    user_units: str | None
    flip: FlipDrawing | None
    user: str | None


@dataclass(frozen=True)
class RunView:
    """What the page of a run shows."""

    run: RunIndex
    row: RunRow
    preferences: Sequence[PreferenceView]
    waiting: Sequence[str]
    seconds_left: float | None
    columns: Sequence[Key]


def run_page(run: RunIndex, addresses: Addresses) -> str:
    """HTML of a run; `InvalidInput` when its records hold numbers that nothing can be computed from."""
    with errors_named_after(run.name):
        images = {name: addresses.plot(run.name, name) for name in picture_names(run.files.root)}
        labels, damage = _labels(run)
        values = run_values(run, partial(addresses.step, run.name), images)
        return render("run.html", addresses=addresses, labels=labels, damage=damage, **values)


def _labels(run: RunIndex) -> tuple[Labels, str | None]:
    """Those of the run, and what is wrong with them."""
    try:
        return read_labels(run.files.root), None
    except InvalidInput as error:
        return NO_LABELS, str(error)


def run_values(
    run: RunIndex, step_address: Callable[[str, int], str | None], images: Mapping[str, str]
) -> dict[str, object]:
    """What `run_body.html` shows.

    `step_address` says where a preference's step can be read, None where it cannot; `images` has the addresses of the
    run's PNGs by name.
    """
    return {
        "view": run_view(run),
        "shown": charts_of(run.histories, run.config.criteria, run.interval),
        "images": images,
        "step_address": step_address,
        "shown_items": SHOWN_ITEMS,
    }


def run_view(run: RunIndex) -> RunView:
    """Everything on record about a run, without transcripts."""
    verdicts = summaries(run)
    views = [_preference(run, name, verdicts[name]) for name in run.points]
    lines = [view.progress for view in views]
    started = {view.name for view in views}
    names = [track.name for track in run.tracks]
    waiting = [name for name in names if name not in started and not name.endswith((".yaml", ".yml"))]
    keys = list(declared_in(run.histories.values()).values())
    lines += [_waiting(run, name, keys) for name in waiting]
    return RunView(
        run=run,
        row=overview(run),
        preferences=views,
        waiting=waiting,
        columns=columns(keys),
        seconds_left=seconds_left(lines, run.config.adapters_at_once) if run.held and lines else None,
    )


def _preference(run: RunIndex, name: str, found: PreferenceSummary) -> PreferenceView:
    history = run.histories[name]
    flip = flip_of(history, next((track.flips_at for track in run.tracks if track.name == name), None))
    return PreferenceView(
        name=name,
        summary=found,
        progress=progress(run, history),
        answers=answers(found, history, run.config.criteria),
        steps=_steps(history),
        metadata=run.metadata[name],
        titles=titles((*keys_of_schema_1(), *history.keys)),
        user_units=None if found.control_of or found.efficiency is None else in_user_units(found.efficiency),
        flip=flip and flip_drawing(flip),
        user=None if found.user is None or run.summary is None else in_words(found.user, run.summary.confidence),
    )


def progress(run: RunIndex, history: History) -> ProgressLine:
    """The line that the terminal shows of a preference."""
    line = _waiting(run, history.preference, history.keys)
    if history.baseline is not None:
        line.measured(history.baseline)
    for step, seconds in zip(history.steps, step_seconds(history), strict=True):
        line.finished(step, seconds)
    if history.status is Status.COMPLETE:
        line.state = "done"
    elif history.failure is not None:
        line.state, line.failure = "failed", history.failure
    elif not run.held:
        line.state = "stopped"
    elif history.baseline is None:
        line.state = "baseline"
    return line


def _waiting(run: RunIndex, name: str, keys: Sequence[Key]) -> ProgressLine:
    return ProgressLine(name, run.planned_steps(name), keys, run.config.criteria)


def _steps(history: History) -> list[StepRow]:
    if history.baseline is None:
        return []
    times = [None, *step_seconds(history)]
    return [
        _step_row(updates, record, seconds)
        for updates, (record, seconds) in enumerate(zip((history.baseline, *history.steps), times, strict=True))
    ]


def _step_row(updates: int, record: Baseline | StepRecord, seconds: float | None) -> StepRow:
    return StepRow(updates, flat(record.eval), lost(record.counts), seconds)


def foreign_run_page(run: ForeignRun, addresses: Addresses) -> str:
    """The page of a run of kfallah/CLaaS: its curves and its transcripts.

    It has no intervals, because those runs do not record what intervals would be computed from.
    """
    return render(
        "foreign.html",
        run=run,
        addresses=addresses,
        shown=charts_of(run.histories, {}, lambda history, updates, criterion: None),
        records={
            name: [
                *([(0, history.baseline)] if history.baseline else []),
                *((step.step + 1, step) for step in history.steps),
            ]
            for name, history in run.histories.items()
        },
    )
