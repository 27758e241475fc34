"""What a person sees while a run goes on: a live line per preference in a terminal, a plain line per step elsewhere."""

import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from claas.core.settings import MODES
from claas.core.terminal import results_console
from claas.eval.reporters.verdict_table import verdict_report
from claas.eval.run.reporter import Reporter
from claas.results.keys import Key, judged
from claas.results.numbers import duration
from claas.results.progress import ProgressLine, columns, printable, seconds_left
from claas.results.records import Baseline, StepRecord
from claas.results.settings import FEEDBACK, ISOLATED, EvalConfig, left_out
from claas.results.summary import RunResults

_WIDE = 100
"""Columns of a terminal with room for bars beside the numbers."""


@contextmanager
def console_reporter(progress: Console | None = None, results: Console | None = None) -> Generator[Reporter]:
    """A reporter for the command line: progress to standard error, the verdict to standard output.

    Live in a terminal that can redraw; one plain line per event where standard error is a pipe or a file, or where
    NO_COLOR or TERM=dumb asks for it. Leaving restores the terminal, however the run ended.
    """
    progress = progress or Console(stderr=True)
    results = results or results_console()
    plain = not progress.is_terminal or progress.is_dumb_terminal or bool(os.environ.get("NO_COLOR"))
    reporter = PlainReporter(progress, results) if plain else LiveReporter(progress, results)
    try:
        yield reporter
    finally:
        reporter.close()


class PlainReporter(Reporter):
    """One line per event, each complete in itself, so that logs can be searched."""

    def __init__(self, progress: Console, results: Console) -> None:
        self._progress = progress
        self._results = results
        self._lines: dict[str, ProgressLine] = {}

    def run_started(
        self, config: EvalConfig, run_dir: Path, keys: Mapping[str, Sequence[Key]], planned: Mapping[str, int]
    ) -> None:
        """Say what is run, and where."""
        self._lines = {name: ProgressLine(name, planned[name], of, config.criteria) for name, of in keys.items()}
        for line in headlines(config, run_dir, keys, planned):
            self._say(line)

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

    def run_finished(self, results: RunResults) -> None:
        """The verdict."""
        self._results.print(verdict_report(results.summary, results.run_dir))

    def close(self) -> None:
        """Nothing to restore."""

    def _say(self, line: str) -> None:
        self._progress.print(Text(printable(line)), soft_wrap=True)


class LiveReporter(Reporter):
    """A table that redraws itself."""

    def __init__(self, progress: Console, results: Console) -> None:
        self._progress = progress
        self._results = results
        self._lines: dict[str, ProgressLine] = {}
        self._headlines: list[str] = []
        self._columns: list[Key] = []
        self._parallel = 1
        self._started = time.monotonic()
        self._live = Live(console=progress, get_renderable=self._render, refresh_per_second=4)

    def run_started(
        self, config: EvalConfig, run_dir: Path, keys: Mapping[str, Sequence[Key]], planned: Mapping[str, int]
    ) -> None:
        """Show every preference as waiting."""
        self._headlines = headlines(config, run_dir, keys, planned)
        self._parallel = config.adapters_at_once
        self._started = time.monotonic()
        self._lines = {name: ProgressLine(name, planned[name], of, config.criteria) for name, of in keys.items()}
        self._columns = columns({key.key: key for of in keys.values() for key in of}.values())
        self._live.start()

    def preference_started(self, name: str, resumed_at: int) -> None:
        """Show it as under way."""
        line = self._lines[name]
        line.done, line.state = resumed_at, "baseline" if resumed_at == 0 else "running"

    def baseline_measured(self, name: str, baseline: Baseline) -> None:
        """Show the numbers before training."""
        self._lines[name].measured(baseline)

    def step_finished(self, name: str, record: StepRecord, seconds: float) -> None:
        """Show the step's numbers."""
        self._lines[name].finished(record, seconds)

    def preference_ended(self, name: str, failure: str | None) -> None:
        """Show that it is over, and why when it failed."""
        line = self._lines[name]
        line.state, line.failure = ("done", None) if failure is None else ("failed", failure)

    def run_finished(self, results: RunResults) -> None:
        """Leave the last state on the screen, and the verdict below it."""
        self.close()
        self._results.print(verdict_report(results.summary, results.run_dir))

    def close(self) -> None:
        """Stop redrawing, and give the cursor back."""
        self._live.stop()

    def _render(self) -> Group:
        wide = self._progress.width >= _WIDE
        table = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), header_style="dim")
        table.add_column("preference")
        table.add_column("step", justify="right")
        if wide:
            table.add_column("")
        for column in self._columns:
            table.add_column(column.heading or "", justify="right")
        table.add_column("time left", justify="right")
        table.add_column("")
        for line in list(self._lines.values()):  # drawn from another thread
            bar = ProgressBar(total=line.planned, completed=line.done, width=14, finished_style="green")
            cells = [line.cell(column) for column in self._columns]
            left = line.time_left() if line.left else ""
            step = f"{line.done}/{line.planned}"
            table.add_row(Text(printable(line.name)), step, *([bar] if wide else []), *cells, left, line.remark())
        heads = [
            Text(printable(line), "" if place else "bold", no_wrap=True, overflow="ellipsis")
            for place, line in enumerate(self._headlines)
        ]
        return Group(*heads, table, Text(self._footer(), style="dim"))

    def _footer(self) -> str:
        elapsed = f"elapsed {duration(time.monotonic() - self._started)}"
        left = seconds_left(list(self._lines.values()), self._parallel)
        return elapsed if left is None else f"{elapsed}, about {duration(left)} left"


def headlines(
    config: EvalConfig, run_dir: Path, keys: Mapping[str, Sequence[Key]], planned: Mapping[str, int]
) -> list[str]:
    """What is run, on one line, and what has to be said of it, each on another one."""
    notes = [f"{name}: {each.name} is {each.note}" for name, of in keys.items() for _, each in judged(of) if each.note]
    return [_headline(config, run_dir, planned), *left_out(config), *notes]


def _headline(config: EvalConfig, run_dir: Path, planned: Mapping[str, int]) -> str:
    through = "" if config.openclaw_url is None else f" through OpenClaw at {config.openclaw_url}"
    arm = "" if config.arm == FEEDBACK else f"arm {config.arm}, "
    return (
        f"{run_dir}: {arm}{_rounds(config, planned)} on {config.base_model}{through}, "
        f"learning rate {config.training.learning_rate}, seed {config.seed}{_without_meaning(config)}"
    )


def _rounds(config: EvalConfig, planned: Mapping[str, int]) -> str:
    """`3 × 20 steps`, or, where they are not alike or share an adapter, each: `sequential: concise 6, identity 20`.

    Controls have as many steps as what they are beside, and are named once.
    """
    trained = config.trained_controls
    beside = f", with {', '.join(trained)} beside" if trained else ""
    own = dict(list(planned.items())[: len(planned) // (1 + len(trained))])
    if set(own.values()) == {config.num_steps} and config.protocol.kind == ISOLATED:
        return f"{len(own)} × {config.num_steps} steps{beside}"
    return f"{config.protocol.kind}: {', '.join(f'{name} {steps}' for name, steps in own.items())} steps{beside}"


def _without_meaning(config: EvalConfig) -> str:
    """The settings that the mode has no use for, said once."""
    if not MODES[config.mode].policy_gradient:
        return ""
    return f"; training.alpha and training.teacher_top_k have no meaning with mode={config.mode}"
