"""One run as the command line has it: shown while it lasts, and ended with an exit code and how to go on."""

import asyncio
import shlex
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from claas.core.command_line import Job, override_value
from claas.core.errors import ExitCode, StackError
from claas.core.output import ALOUD, Voice, say
from claas.eval.loggers.logger import Logger
from claas.eval.reporters.console import console_reporter
from claas.eval.run.plan import RunPlan
from claas.eval.runner import run_harness
from claas.results.records import Record
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults, Summary
from claas.results.verdict import Ruling, Verdict


@dataclass(frozen=True)
class Ended:
    """How a run ended; `summary` is None where it ended early, and then `cause` says why.

    `continue_with` is the command that goes on with it, None where there is nothing to go on with.
    """

    code: ExitCode
    folder: Path
    summary: Summary | None = None
    cause: str | None = None
    continue_with: str | None = None

    @property
    def error(self) -> str | None:
        """Why it ended early, and what to do about it."""
        mend = "" if self.continue_with is None else f"; to continue, run: {self.continue_with}"
        return None if self.cause is None else f"{self.cause}{mend}"

    def outcome(self) -> "RunOutcome":
        """The same for a program."""
        judged = {} if self.summary is None else self.summary.preferences
        return RunOutcome(
            folder=str(self.folder),
            exit_code=self.code,
            verdict=None if self.summary is None else self.summary.verdict,
            preferences={
                name: PreferenceOutcome(verdict=each.verdict, reason=each.reason, criteria=each.criteria)
                for name, each in judged.items()
                if each.control_of is None
            },
            continue_with=self.continue_with,
        )


class PreferenceOutcome(Record):
    """The verdict on one preference, why it is that, and each criterion's."""

    verdict: Verdict
    reason: str
    criteria: dict[str, Ruling]


class RunOutcome(Record):
    """How one run ended. `verdict` is None where it ended early; everything else is in the folder's summary.json."""

    folder: str
    exit_code: int
    verdict: Verdict | None
    preferences: dict[str, PreferenceOutcome]
    continue_with: str | None


class EvalOutcome(Record):
    """What `claas.eval` did: its runs; with `plan` none, and what each would be, by what tells it from the others.

    `aggregate` is the file of what the runs of a sweep show together, None where nothing is.
    """

    runs: tuple[RunOutcome, ...] = ()
    plans: dict[str, RunPlan] | None = None
    aggregate: str | None = None


def run_job(job: Job[EvalConfig], title: str = "", loggers: Mapping[str, Logger] | None = None) -> Ended:
    """Run once; a `ClaasError` other than `StackError` is for the user to correct. Its folder must have been chosen.

    `title` says which run of a sweep it is; `loggers` are the job's where they are made already.
    """
    config = job.config
    folder = Path(str(config.output_dir))
    try:
        results = asyncio.run(until_terminated(config, job.voice, title or job.name, loggers=loggers))
    except (StackError, asyncio.CancelledError) as error:
        return _resumable(job, ExitCode.RESUMABLE, str(error) or "terminated")
    except KeyboardInterrupt:
        return _resumable(job, ExitCode.INTERRUPTED, "interrupted")
    if results.failures:
        failed = ", ".join(f"{name}: {failure}" for name, failure in results.failures.items())
        return _resumable(job, ExitCode.RESUMABLE, failed, is_said=True)
    if results.new_steps == 0:
        tell(f"{results.run_dir} was complete: nothing was run, its summary and plots were made anew")
    failed = config.fail_on_verdict and results.summary.verdict is not Verdict.PASS
    return Ended(ExitCode.NOT_PASSED if failed else ExitCode.COMPLETE, folder, results.summary)


async def until_terminated(
    config: EvalConfig,
    voice: Voice = ALOUD,
    title: str = "",
    *,
    loggers: Mapping[str, Logger] | None = None,
    pilot: bool = False,
) -> RunResults:
    """Run; SIGTERM cancels it, as Ctrl-C does, so that everything is closed in order, and either is said at once."""
    running, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert running is not None
    with console_reporter(_progress(voice), title=title) as reporter:

        def terminate() -> None:
            reporter.stopping()
            running.cancel()

        loop.add_signal_handler(signal.SIGTERM, terminate)
        with _told_of_interrupts(lambda: loop.call_soon_threadsafe(reporter.stopping)):
            return await run_harness(config, reporter, loggers=loggers, pilot=pilot)


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


def _progress(voice: Voice) -> Console | None:
    """Where progress goes: nowhere when quiet, in plain lines among those of the libraries when verbose."""
    if voice.quiet or voice.verbosity:
        return Console(stderr=True, quiet=voice.quiet, force_terminal=False)
    return None


def tell(message: str) -> None:
    """Tell the person at the terminal, in one line."""
    say("claas.eval", message)


def _resumable(job: Job[EvalConfig], code: ExitCode, cause: str, *, is_said: bool = False) -> Ended:
    """A run that ended early, once the person has been told how to go on."""
    others = [argument for argument in job.arguments if not argument.startswith("output_dir=")]
    place = f"output_dir={override_value(str(job.config.output_dir))}"
    command = shlex.join(["python", "-m", "claas.eval", *others, place])
    if not is_said:
        tell(cause)
    tell(f"to continue, run: {command}")
    return Ended(code, Path(str(job.config.output_dir)), cause=cause, continue_with=command)
