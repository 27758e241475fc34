"""What a person sees while a run goes on: a live display in a terminal, a plain line per event elsewhere."""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from claas.core.terminal import results_console
from claas.eval.reporters.headlines import asked_for, notes
from claas.eval.reporters.live import LiveReporter
from claas.eval.reporters.stray_lines import StrayLines, own_terminal
from claas.eval.reporters.verdict_table import verdict_report
from claas.eval.run.reporter import Reporter
from claas.results.keys import Key
from claas.results.progress import ProgressLine, printable
from claas.results.records import Baseline, StepRecord
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults


@contextmanager
def console_reporter(
    progress: Console | None = None, results: Console | None = None, title: str = ""
) -> Generator[Reporter]:
    """A reporter for the command line: progress to standard error, the verdict to standard output.

    Live in a terminal that can redraw, with what others write there above it; one plain line per event where standard
    error is a pipe or a file, or TERM=dumb asks for it. `title` says what tells the run from the others of a sweep.
    Leaving restores the terminal, however the run ended.
    """
    results = results or results_console()
    plain = progress or Console(stderr=True)
    with ExitStack() as opened:
        is_own = progress is None
        if plain.is_dumb_terminal or not (os.isatty(2) if is_own else plain.is_terminal):
            reporter: PlainReporter | LiveReporter = PlainReporter(plain, results, title)
        else:
            terminal = opened.enter_context(own_terminal()) if is_own else plain
            reporter = LiveReporter(terminal, results, title, StrayLines(terminal) if is_own else None)
        opened.callback(reporter.close)
        yield reporter


class PlainReporter(Reporter):
    """One line per event, each with the time and complete in itself, so that logs can be searched.

    `clock` tells the time of day.
    """

    def __init__(
        self, progress: Console, results: Console, title: str = "", clock: Callable[[], datetime] = datetime.now
    ) -> None:
        self._progress = progress
        self._results = results
        self._title = title
        self._clock = clock
        self._lines: dict[str, ProgressLine] = {}

    def run_started(
        self, config: EvalConfig, run_dir: Path, keys: Mapping[str, Sequence[Key]], planned: Mapping[str, int]
    ) -> None:
        """Say what is run, and where."""
        self._lines = {name: ProgressLine(name, planned[name], of, config.criteria) for name, of in keys.items()}
        title = f"{self._title}: " if self._title else ""
        for line in [f"{title}{run_dir}: {asked_for(config, planned)}", *notes(config, keys)]:
            self._say(line)

    def doing(self, what: str) -> None:
        """Say what takes a while."""
        if what:
            self._say(what)

    def preference_started(self, name: str, resumed_at: int) -> None:
        """Say so when earlier steps are on record."""
        line = self._lines[name]
        line.done = resumed_at
        if resumed_at:
            self._say(f"{name}: continues after step {resumed_at} of {line.planned}")

    def baseline_measured(self, name: str, baseline: Baseline) -> None:
        """The numbers before training."""
        self._lines[name].measured(baseline)
        self._say(f"{name}: baseline  {self._lines[name].plain()}")

    def step_finished(self, name: str, record: StepRecord, seconds: float) -> None:
        """The numbers of a step, and the time left."""
        line = self._lines[name]
        line.finished(record, seconds)
        self._say(f"{name}: step {line.done}/{line.planned}  {line.plain()}  {seconds:.1f} s, {line.time_left()} left")

    def preference_ended(self, name: str, failure: str | None) -> None:
        """Done, or why not."""
        self._say(f"{name}: {f'FAILED: {failure}' if failure is not None else 'done'}")

    def stopping(self) -> None:
        """Say so at once."""
        self._say("stopping: what is under way is ended first")

    def remarked(self, remark: str) -> None:
        """A line of its own."""
        self._say(remark)

    def run_finished(self, results: RunResults) -> None:
        """The verdict."""
        self._results.print(verdict_report(results.summary, results.run_dir, results.keys))

    def close(self) -> None:
        """Nothing to restore."""

    def _say(self, line: str) -> None:
        self._progress.print(Text(f"{self._clock():%H:%M:%S} {printable(line)}"), soft_wrap=True)
