"""A run as of its last measurements: their transcripts read, and no others."""

from dataclasses import replace

from claas.dashboard.index.points import read_measurement
from claas.dashboard.index.run_index import RunIndex
from claas.eval.history import History
from claas.eval.verdicts.summary import PreferenceSummary, build_summary


def last_measured(run: RunIndex, preference: str) -> History:
    """The preference's curves, with the transcripts of the baseline and of the last measurement of every key."""
    history, points, files = run.histories[preference], run.points[preference], run.files.preference(preference)
    if history.baseline is None:
        return history
    wanted = {0} | {updates for key in history.known_keys() for updates in _last(history, key)}
    full = {updates: read_measurement(files, points, updates) for updates in wanted}
    steps = tuple(full.get(step.step + 1, step) for step in history.steps)
    return replace(history, baseline=full[0], steps=steps)


def summaries(run: RunIndex) -> dict[str, PreferenceSummary]:
    """What is known of each preference: the run's summary where it has all of them, or one made of all as that will be.

    All, because p-values are adjusted for one another.
    """
    written = {name: run.preference_summary(name) for name in run.points}
    known = {name: found for name, found in written.items() if found is not None}
    if len(known) == len(written):
        return known
    made = {name: last_measured(run, name) for name in run.points}
    return build_summary(run.manifest.run_id, run.config, made).preferences


def _last(history: History, key: str) -> set[int]:
    """After how many updates a key was last due, and last measured."""
    measured = [updates for updates, value in history.curve(key).items() if value is not None]
    return {updates for updates in (history.last_due(key), max(measured, default=None)) if updates is not None}
