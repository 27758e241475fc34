"""`python -m claas.eval [key=value ...]`: runs from the command line."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from claas.core.command_line import Job
from claas.core.errors import ClaasError, ExitCode
from claas.eval.config.compose import COMMAND, compose
from claas.eval.job import tell, until_terminated
from claas.eval.reporters.plan_table import plan_report
from claas.eval.run.folder import new_folder
from claas.eval.run.plan import plan_of
from claas.eval.runner import prepare
from claas.eval.sweep import placed, run_elsewhere, run_here, search, show_sweep
from claas.results.settings import PILOT, EvalConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`; what is no `ClaasError` is a bug, and raised."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        plugins = COMMAND.plugged_in(arguments)
        if plugins is not None and plugins.searches:
            search(plugins)
            return ExitCode.COMPLETE
        jobs = compose(arguments)
        for job in jobs:
            prepare(job.config)  # a mistake in the last run is said before the first one starts
        if any(job.config.plan for job in jobs):
            for job in jobs:
                _plan(job)
            return ExitCode.COMPLETE
        jobs = placed(jobs)
        ended = run_here(jobs) if plugins is None else run_elsewhere(plugins, jobs)
        if len(whole := [each.folder for each in ended if each.summary is not None]) > 1:
            show_sweep(whole)
    except ClaasError as error:
        tell(str(error))
        return ExitCode.MISTAKE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    codes = [each.code for each in ended]
    worst = (ExitCode.MISTAKE, ExitCode.RESUMABLE, ExitCode.NOT_PASSED)
    return next((code for code in worst if code in codes), ExitCode.COMPLETE)


def _plan(job: Job[EvalConfig]) -> None:
    """Print what the run would be, after its baseline and first step where a pilot is asked for."""
    config = job.config
    if config.plan == PILOT:
        config = replace(config, output_dir=config.output_dir or str(new_folder()))
        asyncio.run(until_terminated(config, pilot=True))
        tell(f"the run goes on with the same command, without plan, and output_dir={config.output_dir}")
    plan = asyncio.run(plan_of(*prepare(config)))
    Console().print(plan_report(plan))


if __name__ == "__main__":
    sys.exit(main())
