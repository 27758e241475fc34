"""`run_harness`: a whole run, from its configuration to its results, started or continued."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from claas.core.concurrency import together
from claas.core.errors import InvalidInput, StackError
from claas.core.files import writing
from claas.dashboard.report import write_report
from claas.eval.audit import require_sound
from claas.eval.config.catalog import declared_keys, load_metrics, load_preference, resolve_criteria
from claas.eval.metrics.metric import Metric
from claas.eval.metrics.preference import Preference
from claas.eval.run.folder import OpenRun, open_run
from claas.eval.run.preference_run import open_preference
from claas.eval.run.reporter import Reporter, Silent
from claas.eval.run.sources import code_of
from claas.eval.run.step import run_preference
from claas.eval.stacks.open_stack import check_stack, open_stack
from claas.eval.stacks.stack import Stack, WrongWeights
from claas.results import summary
from claas.results.figure import write_plots
from claas.results.records import History
from claas.results.run_files import RESERVED, PreferenceRecords
from claas.results.settings import PARAPHRASE, EvalConfig
from claas.results.summary import RunResults

OpenStack = Callable[[EvalConfig, Path], AbstractAsyncContextManager[Stack]]


async def run_harness(
    config: EvalConfig, reporter: Reporter | None = None, *, open_stack: OpenStack = open_stack
) -> RunResults:
    """Run `config` to its end, or continue the run in its `output_dir`.

    What is wrong with the input is raised before anything is started or written (`InvalidInput`). A preference whose
    stack fails ends with its failure in the results; the others go on, and the same call continues it. A finished
    run is not run again: its summary and plots are rebuilt from its records.
    """
    config, preferences, metrics = prepare(config)
    code = code_of(config, preferences, metrics)
    with open_run(config, code) as run:
        records = {name: PreferenceRecords.read_whole(run.files.preference(name)) for name in preferences}
        unfinished = any(len(record.steps) < run.config.num_steps for record in records.values())
        if unfinished:
            run = run.made_with(code, {name: record.next_step for name, record in records.items()})
        work = _Work(run, preferences, metrics, records, reporter or Silent())
        keys = {name: declared_keys(metrics, preference) for name, preference in preferences.items()}
        work.reporter.run_started(run.config, run.files.root, keys)
        if unfinished:
            async with open_stack(run.config, run.files.stack) as stack:
                await work.run_all(stack)
        results = work.results()
        if run.config.plots:
            with writing(run.files.plots):
                await asyncio.to_thread(write_plots, run.files.root, run.run_id, run.config, results.preferences)
            await asyncio.to_thread(write_report, run.files.root, ended=True)
        work.reporter.run_finished(results)
    return results


def prepare(config: EvalConfig) -> tuple[EvalConfig, dict[str, Preference], dict[str, Metric]]:
    """The configuration with the threshold of every criterion, and what the run is made of, by name.

    `InvalidInput` on whatever is wrong with it or with the stack it needs.
    """
    check_stack(config)
    preferences, metrics = load(config)
    criteria = resolve_criteria(config.criteria, metrics, config.config_dir, preferences.values())
    return replace(config, criteria=criteria), preferences, metrics


def load(config: EvalConfig) -> tuple[dict[str, Preference], dict[str, Metric]]:
    """The preferences and metrics of a run, whatever stack it is run on."""
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
        preferences[name] = preference
    return preferences, load_metrics(config.metrics, folder)


@dataclass
class _Work:
    """The preferences of a run whose folder is open, and what was on record of them when it was opened."""

    run: OpenRun
    preferences: Mapping[str, Preference]
    metrics: Mapping[str, Metric]
    records: Mapping[str, PreferenceRecords]
    reporter: Reporter
    _ended: dict[str, History] = field(default_factory=dict[str, History])

    async def run_all(self, stack: Stack) -> None:
        """Every preference, `parallel_preferences` at a time."""
        places = asyncio.Semaphore(self.run.config.parallel_preferences)
        await together(self._run_one(preference, stack, places) for preference in self.preferences.values())

    async def _run_one(self, preference: Preference, stack: Stack, places: asyncio.Semaphore) -> None:
        name, records = preference.name, self.records[preference.name]
        async with places:
            try:
                await run_preference(open_preference(self.run, preference, records, self.metrics, stack, self.reporter))
                failure = None
            except WrongWeights as error:
                failure = f"wrong weights: {error}"
            except StackError as error:
                failure = str(error)
        self._ended[name] = self._history(name, failure)
        self.reporter.preference_ended(name, failure)
        self._write_summary(self._ended)

    def results(self) -> RunResults:
        """Everything on record, with summary.json written anew."""
        histories = {name: self._ended.get(name) or self._history(name) for name in self.preferences}
        steps_before = sum(len(records.steps) for records in self.records.values())
        return RunResults(
            run_dir=self.run.files.root,
            config=self.run.config,
            preferences=histories,
            summary=self._write_summary(histories),
            new_steps=sum(len(history.steps) for history in histories.values()) - steps_before,
        )

    def _history(self, name: str, failure: str | None = None) -> History:
        """What the files say now."""
        records = PreferenceRecords.read_whole(self.run.files.preference(name))
        return records.history(name, self.run.config.num_steps, failure)

    def _write_summary(self, histories: Mapping[str, History]) -> summary.Summary:
        made = summary.build_summary(self.run.run_id, self.run.config, histories, self.run.manifest.changes)
        summary.write(self.run.files.root, made)
        return made
