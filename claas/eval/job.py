"""One run as the command line has it: shown while it lasts, and ended with an exit code and how to go on."""

import asyncio
import shlex
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from claas.core.command_line import Job, override_value, say
from claas.core.errors import ExitCode, StackError
from claas.eval.reporters.console import console_reporter
from claas.eval.runner import run_harness
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults, Summary
from claas.results.verdict import Verdict


@dataclass(frozen=True)
class Ended:
    """How a run ended; `summary` is None where it ended early."""

    code: int
    folder: Path
    summary: Summary | None = None


def run_job(job: Job[EvalConfig], title: str = "") -> Ended:
    """Run once; a `ClaasError` other than `StackError` is for the user to correct. Its folder must have been chosen.

    `title` says which run of a sweep it is.
    """
    config = job.config
    folder = Path(str(config.output_dir))
    try:
        results = asyncio.run(until_terminated(config, title or job.name))
    except (StackError, asyncio.CancelledError) as error:
        tell(str(error) or "terminated")
        _say_how_to_resume(job)
        return Ended(ExitCode.RESUMABLE, folder)
    except KeyboardInterrupt:
        tell("interrupted")
        _say_how_to_resume(job)
        raise
    if results.failures:
        _say_how_to_resume(job)
        return Ended(ExitCode.RESUMABLE, folder)
    if results.new_steps == 0:
        tell(f"{results.run_dir} was complete: nothing was run, its summary and plots were made anew")
    failed = config.fail_on_verdict and results.summary.verdict is not Verdict.PASS
    return Ended(ExitCode.NOT_PASSED if failed else ExitCode.COMPLETE, folder, results.summary)


async def until_terminated(config: EvalConfig, title: str = "", *, pilot: bool = False) -> RunResults:
    """Run; SIGTERM cancels it, as Ctrl-C does, so that everything is closed in order, and either is said at once."""
    running, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert running is not None
    with console_reporter(title=title) as reporter:

        def terminate() -> None:
            reporter.stopping()
            running.cancel()

        loop.add_signal_handler(signal.SIGTERM, terminate)
        with _told_of_interrupts(lambda: loop.call_soon_threadsafe(reporter.stopping)):
            return await run_harness(config, reporter, pilot=pilot)


@contextmanager
def _told_of_interrupts(tell: Callable[[], object]) -> Generator[None]:
    """Ctrl-C does what it did before, and is told besides."""
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, frame: FrameType | None) -> None:
        tell()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def tell(message: str) -> None:
    """Tell the person at the terminal, in one line."""
    say("claas.eval", message)


def _say_how_to_resume(job: Job[EvalConfig]) -> None:
    others = [argument for argument in job.arguments if not argument.startswith("output_dir=")]
    place = f"output_dir={override_value(str(job.config.output_dir))}"
    tell(f"to continue, run: {shlex.join(['python', '-m', 'claas.eval', *others, place])}")
