"""`python -m claas.eval [key=value ...]`: runs from the command line."""

import asyncio
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from claas.core.command_line import Job, override_value, say
from claas.core.errors import ClaasError, ExitCode, StackError
from claas.eval.aggregate import show_aggregate
from claas.eval.config.compose import compose
from claas.eval.reporters.console import console_reporter
from claas.eval.reporters.plan_table import plan_report
from claas.eval.run.folder import RUNS, new_folder
from claas.eval.run.plan import plan_of
from claas.eval.runner import prepare, run_harness
from claas.results.settings import PILOT, EvalConfig
from claas.results.summary import RunResults
from claas.results.verdict import Verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`; what is no `ClaasError` is a bug, and raised."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        jobs = compose(arguments)
        for job in jobs:
            prepare(job.config)  # a mistake in the last run is said before the first one starts
        folders: list[Path] = []
        codes: list[int] = []
        for job in jobs:
            if job.config.plan:
                codes.append(_plan(job))
            else:
                config = _with_place(job.config)
                folders.append(Path(str(config.output_dir)))
                codes.append(_run(replace(job, config=config)))
        if len(folders) > 1:
            _show_sweep(folders)
    except ClaasError as error:
        _say(str(error))
        return ExitCode.MISTAKE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return next((code for code in (ExitCode.RESUMABLE, ExitCode.NOT_PASSED) if code in codes), 0)


def _with_place(config: EvalConfig) -> EvalConfig:
    return config if config.output_dir is not None else replace(config, output_dir=str(new_folder()))


def _show_sweep(runs: Sequence[Path]) -> None:
    """What the runs show together, where they are seeds of one configuration, or of two."""
    in_default_place = all(run.parent == RUNS for run in runs)
    try:
        show_aggregate(runs, output=RUNS.parent / "aggregates" / runs[0].name if in_default_place else None)
    except ClaasError as error:
        _say(f"no table over seeds: {error}")


def _run(job: Job[EvalConfig]) -> int:
    """Run once; a `ClaasError` other than `StackError` is for the user to correct."""
    config = job.config
    try:
        results = asyncio.run(_until_terminated(config))
    except (StackError, asyncio.CancelledError) as error:
        _say(str(error) or "terminated")
        _say_how_to_resume(job, config)
        return ExitCode.RESUMABLE
    except KeyboardInterrupt:
        _say("interrupted")
        _say_how_to_resume(job, config)
        raise
    if results.failures:
        _say_how_to_resume(job, config)
        return ExitCode.RESUMABLE
    if results.new_steps == 0:
        _say(f"{results.run_dir} was complete: nothing was run, its summary and plots were made anew")
    return ExitCode.NOT_PASSED if config.fail_on_verdict and results.summary.verdict is not Verdict.PASS else 0


def _plan(job: Job[EvalConfig]) -> int:
    """Print what the run would be, after its baseline and first step where a pilot is asked for."""
    config = job.config
    if config.plan == PILOT:
        config = _with_place(config)
        asyncio.run(_until_terminated(config, pilot=True))
        _say(f"the run goes on with the same command, without plan, and output_dir={config.output_dir}")
    plan = asyncio.run(plan_of(*prepare(config)))
    Console().print(plan_report(plan))
    return 0


async def _until_terminated(config: EvalConfig, *, pilot: bool = False) -> RunResults:
    """Run; SIGTERM cancels it, as Ctrl-C does, so that everything is closed in order."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with console_reporter() as reporter:
        return await run_harness(config, reporter, pilot=pilot)


def _say(message: str) -> None:
    say("claas.eval", message)


def _say_how_to_resume(job: Job[EvalConfig], config: EvalConfig) -> None:
    others = [argument for argument in job.arguments if not argument.startswith("output_dir=")]
    command = ["python", "-m", "claas.eval", *others, f"output_dir={override_value(str(config.output_dir))}"]
    _say(f"to continue, run: {shlex.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
