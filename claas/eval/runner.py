"""`run_harness`: a whole run, from its configuration to its results, started or resumed."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from claas.core.concurrency import together
from claas.core.errors import BREAKDOWNS, ClaasError, InvalidInput, StackError
from claas.core.files import writing
from claas.eval.audit import require_sound
from claas.eval.config.catalog import (
    declared_keys,
    known_preferences,
    load_metrics,
    load_preference,
    resolve_criteria,
)
from claas.eval.loggers.logger import Logger
from claas.eval.loggers.opening import logged, make_loggers
from claas.eval.metrics.limits import limited
from claas.eval.metrics.metric import Metric, for_run
from claas.eval.metrics.preference import Preference
from claas.eval.protocols.arms import measured_of, with_arms
from claas.eval.protocols.chosen import require_folders_of_their_own, tracks_of
from claas.eval.protocols.in_context import parts_of
from claas.eval.protocols.tracks import Track
from claas.eval.run.folder import OpenRun, as_started, open_run
from claas.eval.run.plan import planned_requests
from claas.eval.run.reporter import Reporter, Silent
from claas.eval.run.sources import code_of
from claas.eval.run.step import run_track
from claas.eval.run.track_run import TrackRun, open_track, start
from claas.eval.run.user import SimulatedUser, open_user, require_user
from claas.eval.stacks.open_stack import check_stack, open_stack
from claas.eval.stacks.stack import Stack, WrongWeights
from claas.results import summary
from claas.results.records import History
from claas.results.run_files import RESERVED, PreferenceRecords
from claas.results.sessions import session
from claas.results.settings import PARAPHRASE, PLOT_STYLES, EvalConfig
from claas.results.summary import RunResults
from claas.results.transfer import BWT

OpenStack = Callable[[EvalConfig, Path], AbstractAsyncContextManager[Stack]]
OpenUser = Callable[[EvalConfig, Path], AbstractAsyncContextManager[SimulatedUser]]


async def run_harness(
    config: EvalConfig,
    reporter: Reporter | None = None,
    *,
    open_stack: OpenStack = open_stack,
    open_user: OpenUser = open_user,
    loggers: Mapping[str, Logger] | None = None,
    pilot: bool = False,
) -> RunResults:
    """Run `config` to its end, or resume the run in its `output_dir`.

    Mistakes in the input raise `InvalidInput` before anything is started or written. If the stack fails under a
    preference, that preference ends with the failure in its results and the others go on; the same call resumes it. A
    finished run is not run again: its summary and plots are rebuilt from its records. A `pilot` runs only the baseline
    and the first step of the first track; the same call without it continues from there. `loggers` are those of
    `config`, if they are made already.
    """
    config, tracks, metrics = prepare(config)
    loggers = make_loggers(config) if loggers is None else loggers
    code = code_of(config, tracks, metrics)
    with ExitStack() as held:
        run = held.enter_context(open_run(config, code, [track.planned() for track in tracks]))
        records = {track.name: PreferenceRecords.read_whole(run.files.preference(track.name)) for track in tracks}
        unfinished = any(not records[track.name].is_complete(track.num_steps) for track in tracks)
        if unfinished:
            run = run.made_with(code, {name: record.next_step for name, record in records.items()})
        run = run.recorded()
        held.enter_context(session(run.files.sessions))
        async with logged(loggers, run, records, unfinished, reporter or Silent()) as told:
            work = _Work(run, tracks, metrics, records, told)
            keys = {track.name: declared_keys(measured_of(track, metrics), track.preference) for track in tracks}
            told.run_started(run.config, run.files.root, keys, {track.name: track.num_steps for track in tracks})
            if unfinished:
                await work.count_requests(pilot)
                told.doing(_opening(run.config))
                async with (
                    open_user(run.config, run.files.user) as user,
                    open_stack(run.config, run.files.stack) as stack,
                ):
                    work.run = work.run.on(await stack.base_source())
                    told.doing("")
                    await (work.run_pilot(stack, user) if pilot else work.run_all(stack, user))
                    told.doing("closing the stack")
            told.doing("writing the summary")
            results = work.results()
            if run.config.plots and not pilot:
                told.doing("drawing plots, writing the report")
                await asyncio.to_thread(_draw, run, tracks, results)
            told.run_finished(results)
    return results


def _opening(config: EvalConfig) -> str:
    """What a run is doing before its first request."""
    if config.claas_url is not None:
        return f"reaching {config.claas_url}"
    return f"loading {config.base_model}" if config.mode == "local" else f"starting {config.mode}"


def _draw(run: OpenRun, tracks: Sequence[Track], results: RunResults) -> None:
    """Write the plots and the report page."""
    from claas.dashboard.report import write_report  # only now: a run need not wait for its pages and for matplotlib
    from claas.results.figure import write_plots

    with writing(run.files.plots):
        write_plots(
            run.files.root,
            run.run_id,
            run.config,
            results.preferences,
            transfer=results.summary.transfer,
            flips_at={track.name: track.flips_at for track in tracks},
        )
    write_report(run.files.root, ended=True)


def prepare(config: EvalConfig) -> tuple[EvalConfig, list[Track], dict[str, Metric]]:
    """The configuration with the threshold of every criterion resolved, and the tracks and metrics of the run.

    Raises `InvalidInput` for any mistake in it, or if the stack that it needs cannot be used.
    """
    check_stack(config)
    if config.plots and config.plot_style not in PLOT_STYLES:
        from claas.results.look import look_of  # only for a file of one's own: matplotlib

        look_of(config.plot_style)
    config = as_started(config)
    preferences, metrics = load(config)
    tracks = planned_in(config, preferences, metrics)
    require_user(config, tracks)
    judged = [track.preference for track in tracks]
    of_run = [BWT] if len({track.adapter for track in tracks}) < len(tracks) else []
    criteria = resolve_criteria(config.criteria, metrics, config.config_dir, judged, of_run)
    return replace(config, criteria=criteria), tracks, metrics


def planned_in(config: EvalConfig, preferences: Mapping[str, Preference], metrics: Mapping[str, Metric]) -> list[Track]:
    """The tracks of the run's protocol, with the feedback of its arm, followed by those of its control arms."""
    planned = tracks_of(config, list(preferences.values()))

    def other_than(track: Track) -> Preference:
        taught = [each.preference for each in planned if each.adapter == track.adapter]
        about = {part.name for preference in taught for part in parts_of(preference)}
        known = [*preferences.values(), *map(load_preference, known_preferences())]
        found = next((each for each in known if each.name not in about), None)
        if found is None:
            raise InvalidInput(
                f"the arm irrelevant: there is no preference that {track.adapter} is not about, whose feedback to give"
            )
        return found

    tracks = with_arms(config, planned, metrics, other_than)
    require_folders_of_their_own(tracks)
    return tracks


def load(config: EvalConfig) -> tuple[dict[str, Preference], dict[str, Metric]]:
    """The preferences and metrics of a run, which do not depend on its stack."""
    folder = Path(config.config_dir) if config.config_dir is not None else None
    preferences: dict[str, Preference] = {}
    for preference in [load_preference(name, folder) for name in config.preferences]:
        name = preference.name
        if name in preferences:
            raise InvalidInput(f"two of the preferences are called {name!r}; rename one of them")
        if name in RESERVED or "/" in name:
            raise InvalidInput(f"a preference cannot be called {name!r}: its files go into a folder of that name")
        if config.feedback_variation == PARAPHRASE and not preference.feedback_paraphrases:
            raise InvalidInput(
                f"preference {name!r} has no feedback_paraphrases; add some, or leave feedback_variation at none"
            )
        require_sound(preference)
        preferences[name] = limited(preference, config.limit, config.seed)
    return preferences, {name: for_run(metric, config) for name, metric in load_metrics(config.metrics, folder).items()}


@dataclass
class _Work:
    """The tracks of a run whose folder is open, and their records as of when it was opened."""

    run: OpenRun
    tracks: Sequence[Track]
    metrics: Mapping[str, Metric]
    records: Mapping[str, PreferenceRecords]
    reporter: Reporter
    _ended: dict[str, History] = field(default_factory=dict[str, History])

    async def count_requests(self, pilot: bool) -> None:
        """Tell a reporter that wants it the number of requests, unless a metric fails on dummy answers."""
        if not self.reporter.counts_requests:
            return
        self.reporter.doing("counting requests")
        for track in self.tracks[:1] if pilot else self.tracks:
            with suppress(ClaasError, *BREAKDOWNS):
                planned = await planned_requests(self.run.config, track, self.metrics)
                self.reporter.requests_planned(track.name, planned[:2] if pilot else planned)

    async def run_all(self, stack: Stack, user: SimulatedUser) -> None:
        """Train every adapter of the run, `parallel_preferences` at a time, each together with its controls."""
        places = asyncio.Semaphore(self.run.config.parallel_preferences)
        own = {track.name: track.adapter for track in self.tracks}
        lives: dict[str, dict[str, list[Track]]] = {}
        for track in self.tracks:
            beside = lives.setdefault(own[track.control_of or track.name], {})
            beside.setdefault(track.adapter, []).append(track)

        async def side_by_side(adapters: Collection[Sequence[Track]]) -> None:
            async with places:
                await together(self._train_one(tracks, stack, user) for tracks in adapters)

        await together(side_by_side(beside.values()) for beside in lives.values())

    async def run_pilot(self, stack: Stack, user: SimulatedUser) -> None:
        """Run the baseline and one step of the first track; `StackError` if that fails."""
        runs: list[TrackRun] = []
        await self._start(self.tracks[:1], stack, user, runs)
        await run_track(runs[0], steps=1)

    async def _train_one(self, tracks: Sequence[Track], stack: Stack, user: SimulatedUser) -> None:
        """Run all tracks of one adapter in order; if one fails, those after it are not begun."""
        runs: list[TrackRun] = []
        failure = await self._failure_of(self._start(tracks, stack, user, runs))
        for place, track in enumerate(tracks):
            if failure is None:
                failure = await self._failure_of(self._go_on(runs[place], runs[place + 1 :]))
                self._end(track.name, failure)
                failure = failure and f"{track.name}, which is trained before it, ended: {failure}"
            else:
                self._end(track.name, failure)

    async def _start(self, tracks: Sequence[Track], stack: Stack, user: SimulatedUser, runs: list[TrackRun]) -> None:
        """Start each track, and append it to `runs`."""
        for track in tracks:
            before = runs[-1] if runs else None
            records = self.records[track.name]
            runs.append(open_track(self.run, track, before, records, self.metrics, stack, user, self.reporter))
            await start(runs[-1])

    async def _go_on(self, run: TrackRun, later: Sequence[TrackRun]) -> None:
        """Run a track to its end. If a later track has trained its adapter, it must be at its end already."""
        if not any(other.ledger.intents() for other in later):
            await run_track(run)
        elif run.steps_recorded < run.num_steps:
            raise InvalidInput(
                f"{run.files.root} has {run.steps_recorded} of {run.num_steps} steps, and a later track has "
                "trained its adapter on; choose another output_dir"
            )

    async def _failure_of(self, work: Coroutine[Any, Any, None]) -> str | None:
        """Do `work`, and return why it ended early, or None."""
        try:
            await work
        except WrongWeights as error:
            return f"wrong weights: {error}"
        except StackError as error:
            return str(error)
        return None

    def _end(self, name: str, failure: str | None) -> None:
        self._ended[name] = self._history(name, failure)
        self.reporter.preference_ended(name, failure)
        self._write_summary(self._ended)

    def results(self) -> RunResults:
        """The results on record; also rewrites summary.json."""
        names = [track.name for track in self.tracks]
        histories = {name: self._ended.get(name) or self._history(name) for name in names}
        steps_before = sum(len(records.steps) for records in self.records.values())
        return RunResults(
            run_dir=self.run.files.root,
            config=self.run.config,
            preferences=histories,
            summary=self._write_summary(histories),
            new_steps=sum(len(history.steps) for history in histories.values()) - steps_before,
        )

    def _history(self, name: str, failure: str | None = None) -> History:
        """The history of a track, read from its files now."""
        records = PreferenceRecords.read_whole(self.run.files.preference(name))
        planned = next(track.num_steps for track in self.tracks if track.name == name)
        return records.history(name, planned, failure)

    def _write_summary(self, histories: Mapping[str, History]) -> summary.Summary:
        made = summary.build_summary(
            self.run.run_id, self.run.config, histories, self.run.manifest.changes, self.run.manifest.tracks
        )
        summary.write(self.run.files.root, made)
        return made
