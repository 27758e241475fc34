"""Sweeps: a folder for each run, plugins that take the runs elsewhere or choose them, and what they show together."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from claas.core.command_line import Job, override_value
from claas.core.errors import ClaasError, ExitCode, InvalidInput, StackError
from claas.core.launching import PluggedIn
from claas.core.terminal import plain_table, results_console
from claas.eval.aggregate import run_folders, show_aggregate
from claas.eval.config.compose import COMMAND, with_folder
from claas.eval.job import Ended, run_job, tell
from claas.eval.loggers.logger import Logger
from claas.eval.run.folder import new_folder
from claas.results.aggregate import NAME
from claas.results.numbers import fixed
from claas.results.seed_runs import SEED, differing, read_seed_run
from claas.results.settings import EvalConfig
from claas.results.summary import PreferenceSummary, Summary
from claas.results.verdict import Verdict


def placed(jobs: Sequence[Job[EvalConfig]]) -> list[Job[EvalConfig]]:
    """The jobs, each with a folder.

    Of runs that would share one, each has one within it, named after the folder and what tells the run from the
    others: the name is part of its adapters', which may be on a server that other sweeps ask, too. `InvalidInput`
    where that folder is a run's.
    """
    shared = Counter(job.config.output_dir for job in jobs)
    places: dict[str | None, Path] = {}
    found: list[Job[EvalConfig]] = []
    for job in jobs:
        given = job.config.output_dir
        if given not in places:
            places[given] = new_folder() if given is None else Path(given)
        place = places[given]
        if shared[given] > 1 and (place / "config.json").exists():
            raise InvalidInput(
                f"output_dir={place} is a run's own folder, and no list looks for others in it; name another"
            )
        own = place / re.sub(r"[^A-Za-z0-9._-]+", "-", f"{place.name}-{job.name}") if shared[given] > 1 else place
        found.append(replace(job, config=replace(job.config, output_dir=str(own))))
    return found


def run_here(jobs: Sequence[Job[EvalConfig]], loggers: Sequence[Mapping[str, Logger]]) -> list[Ended]:
    """How the runs of these jobs, each with its loggers, ended, one after another; after an interrupted one none is
    begun."""
    ended: list[Ended] = []
    for place, (job, own) in enumerate(zip(jobs, loggers, strict=True), start=1):
        ended.append(run_job(job, f"run {place} of {len(jobs)}: {job.name}" if len(jobs) > 1 else "", own))
        if ended[-1].code is ExitCode.INTERRUPTED:
            break
    return ended


def run_elsewhere(plugins: PluggedIn, jobs: Sequence[Job[EvalConfig]]) -> list[Ended]:
    """How the runs of these jobs ended, taken by a launcher to where it runs them."""
    task = partial(_launched, {str(job.config.output_dir): job for job in jobs})
    return plugins.launch(task, [_overrides(job) for job in jobs])


def _overrides(job: Job[EvalConfig]) -> list[str]:
    """What a job is asked for elsewhere, its folders as this process knows them."""
    places = {"output_dir": job.config.output_dir, "config_dir": job.config.config_dir}
    known = [f"++{name}={override_value(str(value))}" for name, value in places.items() if value is not None]
    return [*job.overrides, *known]


def _launched(jobs: Mapping[str, Job[EvalConfig]], composed: DictConfig) -> Ended:
    """One of `jobs`, by its folder, in a process of the launcher's."""
    job = jobs[COMMAND.read(composed).output_dir or ""]
    try:
        return run_job(job)
    except ClaasError as error:
        tell(str(error))
        return Ended(ExitCode.MISTAKE, Path(str(job.config.output_dir)), cause=str(error))


def search(plugins: PluggedIn) -> list[Ended]:
    """Let a sweeper choose the settings of one run after another by their `objective`, and show them all.

    In a folder that holds a search already it goes on: what it chooses once more has been run, and is only read.
    `InvalidInput` where it would choose something else.
    """
    given = plugins.config.output_dir
    _require_resumable(plugins.config.hydra.sweeper, None if given is None else Path(str(given)))
    folder = new_folder() if given is None else Path(str(given))
    plugins.search(partial(_trial, folder, plugins.config_dir))
    found = run_folders([folder])
    show_runs(found)
    return [Ended(ExitCode.COMPLETE, each, read_seed_run(each).summary) for each in found]


def _require_resumable(sweeper: DictConfig, folder: Path | None) -> None:
    """Optuna chooses the same again where its sampler has a seed; a storage of its own would number runs otherwise."""
    if sweeper.get("storage") is not None:
        raise InvalidInput(
            "hydra.sweeper.storage is not used: a search goes on from the runs in its output_dir; leave it out, and "
            "set hydra.sweeper.sampler.seed"
        )
    sampler = sweeper.get("sampler")
    if sampler is not None and sampler.get("seed") is None and folder is not None and any(folder.glob("*/config.json")):
        raise InvalidInput(
            f"{folder} holds runs, and this search would choose others than theirs; set "
            "hydra.sweeper.sampler.seed to what they were chosen with, or choose another output_dir"
        )


def _trial(folder: Path, config_dir: Path | None, composed: DictConfig) -> float:
    """The objective of a run with the settings that the sweeper has chosen."""
    now = HydraConfig.get()
    place = str(folder / f"{folder.name}-{now.job.num}")
    job = Job(replace(COMMAND.read(composed), output_dir=place), config_dir, tuple(now.overrides.task))
    ended = run_job(with_folder(job))
    if ended.code is ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if ended.summary is None:
        raise StackError(f"{place} ended early, and the search with it")
    reached = objective(ended.summary)
    if reached is None:
        raise InvalidInput("the metric compliance and held-out prompts are needed to say which run is the best")
    return reached


def objective(summary: Summary) -> float | None:
    """What a search makes as large as it can: mean held-out compliance, less 1 for each criterion that failed.

    So a run is worse than any that fails fewer criteria. None where held-out compliance was not measured.
    """
    judged = [found for found in summary.preferences.values() if found.control_of is None]
    compliance = [found.finals.get("heldout_compliance") for found in judged]
    measured = [value for value in compliance if value is not None]
    if len(measured) < len(judged):
        return None
    return fmean(measured) - sum(len(_failed(found)) for found in judged)


def _failed(found: PreferenceSummary) -> list[str]:
    return [name for name, ruling in found.criteria.items() if ruling.verdict is Verdict.FAIL]


def show_sweep(folders: Sequence[Path]) -> str | None:
    """What the runs show together: over their seeds, where they are of one configuration or of two; else one by one.

    The file of the first, None where there is none.
    """
    try:
        return str(Path(show_aggregate(folders).folder) / NAME)
    except InvalidInput as error:
        tell(f"no table over seeds: {error}")
        show_runs(folders)
        return None


def show_runs(folders: Sequence[Path]) -> None:
    """Print the runs, those with the largest `objective` first, with the settings in which they differ."""
    runs = [read_seed_run(folder) for folder in folders]
    settings = [SEED, *differing(runs)] if len({run.seed for run in runs}) > 1 else differing(runs)
    table = plain_table("run", *settings, "objective", "verdict", "failed criteria")
    scores = {run.folder: None if run.summary is None else objective(run.summary) for run in runs}
    for run in sorted(
        runs, key=lambda run: -math.inf if (score := scores[run.folder]) is None else score, reverse=True
    ):
        found = {} if run.summary is None else run.summary.preferences
        failed = [f"{name}: {', '.join(_failed(each))}" for name, each in found.items() if _failed(each)]
        values = [str(run.settings.get(name)) for name in settings]
        verdict = "" if run.summary is None else str(run.summary.verdict)
        table.add_row(run.folder.name, *values, fixed(scores[run.folder], 3), verdict, "; ".join(failed))
    results_console().print(table)
