"""`python -m claas.eval [key=value ...]`: runs from the command line."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.console import Console

from claas.core.command_line import Job
from claas.core.errors import ExitCode
from claas.core.output import Done, ended
from claas.eval.config.compose import COMMAND, compose
from claas.eval.job import Ended, EvalOutcome, tell, until_terminated
from claas.eval.loggers.logger import Logger
from claas.eval.loggers.opening import make_loggers
from claas.eval.reporters.plan_table import plan_report
from claas.eval.run.folder import new_folder
from claas.eval.run.plan import RunPlan, plan_of
from claas.eval.runner import prepare
from claas.eval.sweep import placed, run_elsewhere, run_here, search, show_sweep
from claas.results.settings import PILOT, EvalConfig

_WORST_FIRST = (ExitCode.INTERRUPTED, ExitCode.MISTAKE, ExitCode.RESUMABLE, ExitCode.NOT_PASSED)


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`; what is no `ClaasError` is a bug, and raised."""
    return ended(COMMAND.module, _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    plugins = COMMAND.plugged_in(arguments)
    if plugins is not None and plugins.searches:
        return _done(search(plugins))
    jobs = compose(arguments)
    loggers: list[Mapping[str, Logger]] = []
    for job in jobs:  # a mistake in the last run is said before the first one starts
        prepare(job.config)
        loggers.append(make_loggers(job.config))
    if any(job.config.plan for job in jobs):
        plans = {job.name: _plan(job, own) for job, own in zip(jobs, loggers, strict=True)}
        return Done(result=EvalOutcome(plans=plans))
    jobs = placed(jobs)
    runs = run_here(jobs, loggers) if plugins is None else run_elsewhere(plugins, jobs)
    whole = [each.folder for each in runs if each.summary is not None]
    return _done(runs, show_sweep(whole) if len(whole) > 1 else None)


def _done(runs: Sequence[Ended], aggregate: str | None = None) -> Done:
    codes = [each.code for each in runs]
    code = next((code for code in _WORST_FIRST if code in codes), ExitCode.COMPLETE)
    error = next((each.error for each in runs if each.code == code), None)
    return Done(code, EvalOutcome(runs=tuple(each.outcome() for each in runs), aggregate=aggregate), error)


def _plan(job: Job[EvalConfig], loggers: Mapping[str, Logger]) -> RunPlan:
    """What the run would be, also printed; after its baseline and first step where a pilot is asked for."""
    config = job.config
    if config.plan == PILOT:
        config = replace(config, output_dir=config.output_dir or str(new_folder()))
        asyncio.run(until_terminated(config, job.voice, loggers=loggers, pilot=True))
        tell(f"the run goes on with the same command, without plan, and output_dir={config.output_dir}")
    plan = asyncio.run(plan_of(*prepare(config)))
    Console().print(plan_report(plan))
    return plan


if __name__ == "__main__":
    sys.exit(main())
