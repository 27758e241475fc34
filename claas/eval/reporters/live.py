"""A run in a terminal: a display that redraws itself, fits any width, and leaves the lines of others alone."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from claas.eval.reporters.countdown import Countdown, Spent
from claas.eval.reporters.drawn import ASCII, Glyphs, bar
from claas.eval.reporters.headlines import asked_for, notes
from claas.eval.reporters.live_table import Layout, drawn_key
from claas.eval.reporters.stray_lines import StrayLines
from claas.eval.reporters.verdict_table import verdict_report
from claas.eval.run.measuring import tokens
from claas.eval.run.reporter import Reporter
from claas.results.keys import Key
from claas.results.numbers import compact, duration
from claas.results.progress import ProgressLine, lost, printable, seconds_left
from claas.results.records import Baseline, StepRecord, Transcript, flat
from claas.results.settings import EvalConfig, Prices
from claas.results.summary import RunResults, estimated_cost

_LONGEST_BAR = 60
_MOST_REMARKS = 4


@dataclass
class RunState:
    """What is known of a run while it goes on; every number in it was told by an event."""

    clock: Callable[[], float]
    title: str = ""
    config: EvalConfig = field(default_factory=EvalConfig)
    place: str = ""
    heads: list[str] = field(default_factory=list[str])
    lines: dict[str, ProgressLine] = field(default_factory=dict[str, ProgressLine])
    curves: dict[str, dict[int, float | None]] = field(default_factory=dict[str, dict[int, float | None]])
    found: dict[str, Sequence[StepRecord]] = field(default_factory=dict[str, Sequence[StepRecord]])
    countdown: Countdown = field(default_factory=Countdown)
    spent: Spent = field(default_factory=Spent)
    doing: str = ""
    is_stopping: bool = False
    has_ended: bool = False
    began: float = 0.0
    ended: float | None = None

    def on_record(self, name: str, record: Baseline | StepRecord) -> None:
        """The curve of a preference, the bar and the tokens go on by a record."""
        updates = record.step + 1 if isinstance(record, StepRecord) else 0
        if (key := drawn_key(self.lines[name].keys)) is not None:
            self.curves.setdefault(name, {})[updates] = flat(record.eval).get(key.key)
        self.spent.recorded(name, record.tokens)
        self.countdown.recorded(name, updates + 1)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began, until its end."""
        return (self.clock() if self.ended is None else self.ended) - self.began


class LiveReporter(Reporter):
    """Shows a run in a terminal for as long as it lasts, and its verdict below.

    `title` says what tells the run from the others of a sweep. `stray` brings what others write meanwhile above the
    display. `clock` counts seconds.
    """

    counts_requests = True

    def __init__(
        self,
        progress: Console,
        results: Console,
        title: str = "",
        stray: StrayLines | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._results = results
        self._stray = stray
        self._run = RunState(clock, title)
        self._lock = RLock()
        self._live = Live(
            console=progress,
            get_renderable=self.display,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def run_started(
        self, config: EvalConfig, run_dir: Path, keys: Mapping[str, Sequence[Key]], planned: Mapping[str, int]
    ) -> None:
        """Show every preference as waiting."""
        run = self._run
        run.config, run.place, run.began = config, str(run_dir), run.clock()
        run.heads = [asked_for(config, planned), *notes(config, keys)]
        run.lines = {name: ProgressLine(name, planned[name], of, config.criteria) for name, of in keys.items()}
        self._live.start(refresh=True)
        if self._stray is not None:
            self._stray.start()

    def doing(self, what: str) -> None:
        """Say it where the time left stands."""
        self._run.doing = what

    def requests_planned(self, name: str, requests: Sequence[int]) -> None:
        """The bar is theirs."""
        with self._lock:
            self._run.countdown.plan(name, requests)

    def preference_started(self, name: str, resumed_at: int) -> None:
        """Show it as under way."""
        line = self._run.lines[name]
        line.done, line.state = resumed_at, "baseline" if resumed_at == 0 else "running"

    def steps_found(self, name: str, steps: Sequence[StepRecord]) -> None:
        """They are shown once their baseline is."""
        self._run.found[name] = steps

    def request_ended(self, name: str, request: Transcript) -> None:
        """Count it and its tokens."""
        with self._lock:
            self._run.countdown.ended(name, self._run.clock())
            self._run.spent.asked(name, tokens([request]))

    def baseline_measured(self, name: str, baseline: Baseline) -> None:
        """Show the numbers before training, and those of the steps that follow on record."""
        with self._lock:
            for record in (baseline, *self._run.found.pop(name, ())):
                self._run.lines[name].measured(record)
                self._run.on_record(name, record)

    def step_finished(self, name: str, record: StepRecord, seconds: float) -> None:
        """Show the step's numbers."""
        with self._lock:
            self._run.lines[name].finished(record, seconds)
            self._run.on_record(name, record)

    def preference_ended(self, name: str, failure: str | None) -> None:
        """Show that it is over, and why when it failed."""
        with self._lock:
            line = self._run.lines[name]
            line.state, line.failure = ("done", None) if failure is None else ("failed", failure)
            self._run.countdown.over(name)
            self._run.spent.dropped(name)

    def stopping(self) -> None:
        """Say so."""
        self._run.is_stopping = True

    def remarked(self, remark: str) -> None:
        """Lines above the display."""
        self._progress.print(Text(printable(remark), style="yellow"))

    def run_finished(self, results: RunResults) -> None:
        """Leave the last state on the screen, and the verdict below it."""
        self._run.has_ended = True
        self.close()
        self._results.print(verdict_report(results.summary, results.run_dir, results.keys))

    def close(self) -> None:
        """Stop redrawing, and give the cursor back."""
        if self._stray is not None:
            self._stray.stop()
        if self._run.ended is None:
            self._run.ended = self._run.clock()
        if self._live.is_started:
            self._live.stop()

    def display(self) -> Group:
        """What is shown now."""
        with self._lock:
            return Group(*_frame(self._run, self._progress))


def _frame(run: RunState, console: Console) -> Iterable[RenderableType]:
    """The display as it is now, no wider than the console and, while the run goes on, no higher."""
    width, height = console.width, console.height
    glyphs = ASCII if console.options.ascii_only else Glyphs()
    heads = [
        Text(part.plain.rstrip(), style="dim")
        for head in run.heads
        for part in Text(printable(head)).wrap(console, width)
    ]
    title = [Text(printable(run.title), style="bold cyan", overflow="ellipsis", no_wrap=True)] if run.title else []
    top = [*title, _tail(run.place, width), *heads]
    bottom = [] if run.has_ended else _bar(run, width, glyphs)
    status = _status(run, width)
    room = height - len(top) - len(bottom) - 3
    remarks = _remarks(run, max(1, min(_MOST_REMARKS, room - len(run.lines))), run.has_ended)
    lines, left_out = _that_fit(list(run.lines.values()), room - len(remarks), run.has_ended)
    return [
        *top,
        Layout.of(width, list(run.lines.values())).table(lines, run.curves, glyphs),
        *([Text(left_out, style="dim")] if left_out else []),
        *remarks,
        *bottom,
        status,
    ]


def _tail(place: str, width: int) -> Text:
    """The end of a path that is too long says more than its beginning."""
    shown = printable(place)
    return Text(shown if len(shown) <= width else f"…{shown[len(shown) - width + 1 :]}", style="bold", no_wrap=True)


def _that_fit(lines: Sequence[ProgressLine], room: int, all_of_them: bool) -> tuple[list[ProgressLine], str]:
    """As many preferences as there is room for, those under way first, in their order; and what is left out."""
    if all_of_them or len(lines) <= room:
        return list(lines), ""
    order = {"failed": 0, "running": 1, "baseline": 1, "waiting": 2}
    most_first = sorted(lines, key=lambda line: order.get(line.state, 3))[: max(1, room - 1)]
    hidden = [line.state for line in lines if line not in most_first]
    counts = ", ".join(f"{hidden.count(state)} {state}" for state in dict.fromkeys(hidden))
    return [line for line in lines if line in most_first], f"and {counts}"


def _remarks(run: RunState, most: int, all_of_them: bool) -> list[Text]:
    """Why preferences failed, alarms and losses, each on a line: the worst first where there are too many."""
    failed, alarms, losses = list[Text](), list[Text](), list[Text]()
    for line in run.lines.values():
        name = printable(line.name)
        if line.failure is not None:
            failed.append(Text(f"{name} failed: {printable(line.failure)}", "red", no_wrap=True, overflow="ellipsis"))
        if found := line.alarms():
            alarms.append(Text(f"! {name}: {', '.join(found)}", "bold red", no_wrap=True, overflow="ellipsis"))
        if words := lost(line.all_counts):
            losses.append(Text(f"{name}: {printable(words)}", "yellow", no_wrap=True, overflow="ellipsis"))
    found = [*failed, *alarms, *losses]
    if all_of_them or len(found) <= most:
        return found
    return [*found[: most - 1], Text(f"and {len(found) - most + 1} more alarms and losses", style="dim")]


def _bar(run: RunState, width: int, glyphs: Glyphs) -> list[Text]:
    done, total, what = run.countdown.done, run.countdown.total, "requests"
    if not run.countdown.is_known:
        done, total, what = _steps(run.lines.values())
    count = f"{done:,} of {total:,} {what}"
    drawn, rest = bar(done, total, max(4, min(_LONGEST_BAR, width - len(count) - 1)), glyphs)
    return [Text.assemble((drawn, "cyan"), (rest, "bright_black"), f" {count}", no_wrap=True, overflow="ellipsis")]


def _steps(lines: Iterable[ProgressLine]) -> tuple[int, int, str]:
    found = list(lines)
    return sum(line.done for line in found), sum(line.planned for line in found), "steps"


def _status(run: RunState, width: int) -> Text:
    """The clock, what goes on or how long it will, tokens and cost: as much of it as fits."""
    parts = [(duration(run.elapsed_s), "")]
    if run.is_stopping:
        parts.append(("stopping: what is under way is ended first", "bold yellow"))
    elif run.doing and not run.has_ended:
        parts.append((run.doing, "cyan"))
    elif (left := _seconds_left(run)) is not None:
        parts.append((f"about {duration(left)} left", "bold"))
    spent = run.spent.total()
    if sum(spent.values()):
        parts.append((f"{compact(sum(spent.values()))} tokens", ""))
    if run.config.prices is not None:
        parts.append((f"cost {_cost(spent, run.config.prices)}", ""))
    shown = Text(no_wrap=True, overflow="ellipsis")
    for text, style in parts:
        text = printable(text)
        if shown and shown.cell_len + 3 + len(text) > width:
            continue
        shown.append(f"{' · ' if shown else ''}", style="dim").append(text, style=style)
    return shown


def _seconds_left(run: RunState) -> float | None:
    if run.has_ended:
        return None
    if run.countdown.is_known:
        return run.countdown.seconds_left(run.clock())
    return seconds_left(list(run.lines.values()), run.config.adapters_at_once)


def _cost(spent: Mapping[str, int], prices: Prices) -> str:
    return f"{estimated_cost(spent, prices):.2f}"
