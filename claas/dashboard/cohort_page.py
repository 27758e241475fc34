"""The pages of the cohort: its tables, the items of a cell, and both in one file that needs no server."""

import base64
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from claas.core.errors import InvalidInput, NotFound
from claas.dashboard.assets import asset
from claas.dashboard.benchmark_item_page import (
    FIRST_PAGE,
    ItemFilter,
    ItemQuery,
    TextBounds,
    items_fragment,
    items_view,
)
from claas.dashboard.cohort import Cohort, CohortRow, Table, read_cohort
from claas.dashboard.cohort_csv import cohort_csv
from claas.dashboard.pages import BENCH_ROOT, address_of, policy_hash, render

NEW_CELLS_S = 0.7
"""For how long one page reads items that no page has read before; the next one goes on with the rest."""

MOST_BYTES = 8_000_000
"""The most bytes of items that a file holds."""

MOST_ITEMS = 20
"""The most items of a cell that a file holds."""

_IN_FILE = TextBounds(whole_prompt=2_000, answer=1_200)


@dataclass(frozen=True)
class CohortAddresses:
    """Addresses of pages about the runs in one folder; `results_dir` is None for the folder that the API shows."""

    results_dir: str | None = None

    def cohort(self, query: "CohortQuery") -> str:
        """The tables."""
        return address_of(BENCH_ROOT, {**query.parameters(), "results_dir": self.results_dir})

    def csv(self) -> str:
        """The tables as a CSV file."""
        return address_of(f"{BENCH_ROOT}/csv", {"results_dir": self.results_dir})

    def items(self, row: CohortRow, task: str, query: ItemQuery = FIRST_PAGE) -> str:
        """The items of a cell."""
        page = None if query.page == 1 else query.page
        place = {"run": row.run.name, "at": row.run.timestamp, "task": task, "only": query.only, "page": page}
        return address_of(f"{BENCH_ROOT}/items", {**place, "results_dir": self.results_dir})


@dataclass(frozen=True)
class CohortQuery:
    """How the tables are sorted: by `model`, `average`, `when` or a task."""

    sort: str = "when"
    descending: bool = True

    def by(self, key: str) -> "CohortQuery":
        """Sorted by a column, the other way round where it is already."""
        return CohortQuery(key, not self.descending if key == self.sort else key != "model")

    def parameters(self) -> dict[str, Any]:
        """The parameters of the address that asks for this; those that have their default are left out."""
        values = {"sort": self.sort, "descending": str(self.descending).lower()}
        return {} if self == CohortQuery() else values

    def sorted(self, table: Table) -> list[CohortRow]:
        """The rows of a table; those without a number of the column last, and ties the newest first."""
        keys = [(self._key(table, row), row) for row in table.rows]
        known = sorted((each for each in keys if each[0] is not None), key=itemgetter(0), reverse=self.descending)
        return [row for _, row in [*known, *(each for each in keys if each[0] is None)]]

    def _key(self, table: Table, row: CohortRow) -> Any:
        if self.sort == "when":
            return row.run.timestamp
        if self.sort == "model":
            return row.model
        if self.sort == "average":
            return table.average(row)
        cell = row.cells.get(self.sort)
        return cell and cell.value


def cohort_page(root: Path, addresses: CohortAddresses, query: CohortQuery) -> str:
    """HTML of the cohort in `root`; `InvalidInput` where metrics.json cannot be read, or has no such column."""
    cohort = read_cohort(root, NEW_CELLS_S)
    known = {"when", "model", "average"}.union(*(table.tasks for table in cohort.tables))
    if query.sort not in known:
        raise InvalidInput(f"sort={query.sort}: there is no such column; there are {', '.join(sorted(known))}")
    return render(
        "cohort.html",
        view=_View(root, cohort, query.sorted, addresses.items, addresses.csv(), query, addresses.cohort),
        items_root=f"{BENCH_ROOT}/items?",
    )


def benchmark_item_page(
    root: Path, addresses: CohortAddresses, run: str, task: str, query: ItemQuery, at: str | None = None
) -> str:
    """HTML of the items of one task of the run with this name, the newest of them or the one of the time `at`."""
    cohort = read_cohort(root, NEW_CELLS_S)
    row = cohort.row(run, at)
    if row is None:
        raise NotFound(f"there is no run {run}{f' of {at}' if at else ''} in {root}")
    view = items_view(cohort, row, task, query, lambda place: addresses.items(row, task, place))
    return render(
        "benchmark_items.html", view=view, filters=ItemFilter, heading="h1", trail=addresses.cohort(CohortQuery())
    )


def cohort_csv_of(root: Path) -> str:
    """The cohort in `root` as CSV."""
    return cohort_csv(read_cohort(root))


def cohort_file(root: Path) -> str:
    """HTML of the cohort in `root`, with the first items of each cell, to be read without a server.

    What it leaves out for its size is said in it.
    """
    cohort = read_cohort(root)
    held = _Held(cohort)
    scripts = [asset(name).content.decode() for name in ("sort.js", "drawer.js")]
    csv = base64.b64encode(cohort_csv(cohort).encode()).decode()
    return render(
        "cohort_file.html",
        view=_View(root, cohort, CohortQuery().sorted, held.address, f"data:text/csv;base64,{csv}"),
        held=held,
        scripts=[Markup(script) for script in scripts],
        policy=" ".join(f"'{policy_hash(script)}'" for script in scripts),
    )


@dataclass(frozen=True)
class _View:
    """What the templates show; without a `query` and addresses of others, the columns are sorted in the file itself."""

    folder: Path
    cohort: Cohort
    rows: Callable[[Table], list[CohortRow]]
    items: Callable[[CohortRow, str], str | None]
    csv: str
    query: CohortQuery | None = None
    sorted_by: Callable[[CohortQuery], str] | None = None


@dataclass
class _Held:
    """The items in the file: for each cell its first ones, as compressed HTML by id."""

    cohort: Cohort
    fragments: dict[str, str] = field(default_factory=dict[str, str])
    items: int = 0
    of: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        for name, row, task in self._cells():
            view = items_view(self.cohort, row, task, FIRST_PAGE, lambda _: None, per_page=MOST_ITEMS, bounds=_IN_FILE)
            packed = base64.b64encode(gzip.compress(items_fragment(view).encode(), 6, mtime=0)).decode()
            self.of += view.total
            if self.size + len(packed) <= MOST_BYTES:
                self.size += len(packed)
                self.items += len(view.items)
                self.fragments[name] = packed

    def address(self, row: CohortRow, task: str) -> str | None:
        """Where the items of a cell are in the file, None where they are not."""
        name = _id(row, task)
        return f"#{name}" if name in self.fragments else None

    def _cells(self) -> Iterator[tuple[str, CohortRow, str]]:
        for table in self.cohort.tables:
            for row in table.rows:
                for task, cell in row.cells.items():
                    if cell is not None and cell.has_items:
                        yield _id(row, task), row, task


def _id(row: CohortRow, task: str) -> str:
    return "/".join(quote(part, safe="") for part in ("items", row.run.name, row.run.timestamp, task))
