"""The cohort: every benchmark run of a folder, in tables of those that were asked the same."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from claas.core.errors import ClaasError
from claas.core.files import dump_json
from claas.dashboard.benchmark_cells import BenchmarkItems, Cell
from claas.results.benchmarks import BenchmarkFiles, BenchmarkRun, TaskData
from claas.results.points import read_cached, write_cached
from claas.results.records import Record
from claas.results.run_index import FOLDER, shown
from claas.results.statistics import holm

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class TableAsked:
    """What all tasks of a run were asked with; `settings` as JSON, None where another harness does not say."""

    harness: str
    version: str
    apply_chat_template: bool | None
    settings: str
    smoke: bool


@dataclass(frozen=True)
class TaskAsked:
    """How one task was asked; None where another harness does not say. `rows` is which rows of `data` as JSON."""

    num_fewshot: int | None
    limit: int | None
    version: str | None
    rows: str | None
    data: TaskData | None = field(compare=False)


@dataclass(frozen=True)
class CohortRow:
    """One run in its table. `base` is the row of its base model, None where there is none, and of the base itself.

    `is_base`: it is that of another row. `cells` is by task, None where the row has no number. `p_holm` is of the
    differences of the whole table together. `is_newest`: no later row of its table is of the same model.
    """

    run: BenchmarkRun
    base: BenchmarkRun | None
    is_base: bool
    cells: Mapping[str, Cell | None]
    p_holm: Mapping[str, float]
    is_newest: bool

    @property
    def model(self) -> str:
        """The name by which the weights were asked."""
        return self.run.adapter or self.run.base_model

    def direction(self, task: str) -> int:
        """1 and -1 for a difference that holds as one of all in the table, else 0."""
        cell = self.cells.get(task)
        if cell is None or cell.difference is None or self.p_holm[task] >= SIGNIFICANT:
            return 0
        return 1 if cell.difference.difference > 0 else -1


@dataclass(frozen=True)
class Table:
    """Runs that were asked the same, the newest first; a run may lack some of the tasks."""

    asked: TableAsked
    tasks: Mapping[str, TaskAsked]
    rows: Sequence[CohortRow]

    @property
    def fixture(self) -> bool:
        """Whether any task read rows that only have its data set's form."""
        return any(task.data is not None and task.data.fixture for task in self.tasks.values())

    @property
    def without_base(self) -> list[str]:
        """The base models of its adapters of which no run is in it."""
        there = {row.run.base_model for row in self.rows if row.run.adapter is None}
        return sorted({row.run.base_model for row in self.rows} - there)

    @property
    def differences(self) -> int:
        """How many there are."""
        return sum(len(row.p_holm) for row in self.rows)

    def metrics(self, task: str) -> list[str]:
        """What the task's numbers are, one in all rows unless their summaries say otherwise."""
        return list(dict.fromkeys(cell.metric for row in self.rows if (cell := row.cells.get(task)) is not None))

    def counts(self, task: str) -> list[int]:
        """How many items the task has, where that is known; the same in all rows unless their data was changed."""
        return sorted({cell.n for row in self.rows if (cell := row.cells.get(task)) is not None and cell.n is not None})

    def average(self, row: CohortRow) -> float | None:
        """The mean over all tasks; None where the row lacks one, or of one less is better."""
        cells = [row.cells.get(task) for task in self.tasks]
        values = [cell.value for cell in cells if cell is not None and not cell.less_is_better]
        return fmean(values) if len(values) == len(cells) > 1 else None

    def why_not(self) -> dict[str, dict[str, list[str]]]:
        """Why differences are missing: by reason, by model, the tasks."""
        reasons: dict[str, dict[str, list[str]]] = {}
        for row in self.rows:
            for task, cell in row.cells.items():
                if cell is not None and cell.why_not is not None:
                    reasons.setdefault(cell.why_not, {}).setdefault(row.run.name, []).append(task)
        return reasons


@dataclass(frozen=True)
class Unfinished:
    """A run without a row yet, and the tasks that it has completed; `problem` where its file cannot be read."""

    name: str
    tasks: Sequence[str] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Cohort:
    """Every run below a folder. `waiting` cells were left for the next reading."""

    tables: Sequence[Table]
    unfinished: Sequence[Unfinished]
    items: BenchmarkItems
    waiting: int = 0

    @property
    def runs(self) -> int:
        """How many there are."""
        return sum(len(table.rows) for table in self.tables)

    def row(self, name: str, timestamp: str | None = None) -> CohortRow | None:
        """The newest run of a name, or the one of this time."""
        found = [
            row
            for table in self.tables
            for row in table.rows
            if row.run.name == name and timestamp in (None, row.run.timestamp)
        ]
        return max(found, key=lambda row: row.run.timestamp, default=None)


def read_cohort(root: Path, most_s: float = float("inf")) -> Cohort:
    """The runs whose rows are in `root`; what was read before is not read again, and no new items after `most_s`.

    `InvalidInput` where metrics.json cannot be read.
    """
    files = BenchmarkFiles(root)
    runs = files.read_runs().runs
    items = BenchmarkItems(files, runs)
    reader = _Reader(items, root / FOLDER / "cohort.json", time.monotonic() + most_s)
    tables = [reader.table(*group) for group in _groups(runs)]
    reader.keep()
    tables.sort(key=lambda table: table.rows[0].run.timestamp, reverse=True)
    return Cohort(tables, _unfinished(files), items, reader.waiting)


def _groups(runs: Sequence[BenchmarkRun]) -> Iterator[tuple[TableAsked, dict[str, TaskAsked], list[BenchmarkRun]]]:
    """Runs of the same harness whose tasks were all asked as in the one with the most tasks."""
    groups: list[tuple[TableAsked, dict[str, TaskAsked], list[BenchmarkRun]]] = []
    for run in sorted(runs, key=lambda run: len(run.limits), reverse=True):
        asked, tasks = _asked(run)
        for known, of_tasks, members in groups:
            if known == asked and all(of_tasks.get(task) == how for task, how in tasks.items()):
                members.append(run)
                break
        else:
            groups.append((asked, tasks, [run]))
    return iter(groups)


def _asked(run: BenchmarkRun) -> tuple[TableAsked, dict[str, TaskAsked]]:
    tasks: dict[str, TaskAsked] = {}
    for task, limit in run.limits.items():
        data = run.datasets.get(task)
        rows = None if data is None else dump_json(data.content())
        tasks[task] = TaskAsked(run.num_fewshot.get(task), limit, run.task_versions.get(task), rows, data)
    settings = json.dumps(run.settings, sort_keys=True)
    return TableAsked(run.harness, run.lm_eval_version, run.apply_chat_template, settings, run.smoke), tasks


@dataclass
class _Reader:
    """Makes tables, and remembers their cells."""

    items: BenchmarkItems
    place: Path
    until: float
    waiting: int = 0

    def __post_init__(self) -> None:
        kept = read_cached(self.place, _Cells)
        self._known = {} if kept is None else kept.cells
        self._used: dict[str, Cell | None] = {}

    def table(self, asked: TableAsked, tasks: dict[str, TaskAsked], runs: list[BenchmarkRun]) -> Table:
        """A table of these runs, the oldest of which come first."""
        newest_first = sorted(runs, key=lambda run: run.timestamp)[::-1]
        bases = {run.base_model: run for run in reversed(newest_first) if run.adapter is None}
        of_base = [None if run.adapter is None else bases.get(run.base_model) for run in newest_first]
        found: list[dict[str, Cell | None]] = [{} for _ in newest_first]
        for task in tasks:  # one after the other, so that the base's items are read once
            for run, base, cells in zip(newest_first, of_base, found, strict=True):
                if task in run.limits:
                    cells[task] = self._cell(run, task, base if base and task in base.limits else None)
        p_holm = iter(holm([it.difference.p for cells in found for it in cells.values() if it and it.difference]))
        rows: list[CohortRow] = []
        for run, base, cells in zip(newest_first, of_base, found, strict=True):
            adjusted = {task: next(p_holm) for task, it in cells.items() if it and it.difference}
            is_newest = all((run.base_model, run.adapter) != (row.run.base_model, row.run.adapter) for row in rows)
            rows.append(CohortRow(run, base, run in of_base, cells, adjusted, is_newest))
        return Table(asked, tasks, rows)

    def keep(self) -> None:
        """Write the cells of all tables, for the next reading."""
        if self._used.keys() != self._known.keys():
            write_cached(self.place, _Cells(cells=self._used))

    def _cell(self, run: BenchmarkRun, task: str, base: BenchmarkRun | None) -> Cell | None:
        mark = self.items.mark(run, task, base)
        if mark in self._known:
            cell = self._known[mark]
        elif time.monotonic() > self.until:
            self.waiting += 1
            return self.items.number(run, task)
        else:
            cell = self.items.cell(run, task, base)
        self._used[mark] = cell
        return cell


class _Cells(Record):
    """What the last reading found, by what it was made of."""

    cells: dict[str, Cell | None]


def _unfinished(files: BenchmarkFiles) -> list[Unfinished]:
    """Every `metrics.<name>.partial.json`."""
    found: list[Unfinished] = []
    for path in sorted(files.root.glob("metrics.*.partial.json")):
        name = path.name.removeprefix("metrics.").removesuffix(".partial.json")
        try:
            found.append(Unfinished(shown(name), tuple(files.read_partial(name).completed)))
        except ClaasError as error:
            found.append(Unfinished(shown(name), problem=str(error)))
    return found
