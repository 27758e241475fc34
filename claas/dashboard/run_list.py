"""The list of runs: filtered, sorted, and cut into pages."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from claas.core.checks import one_of
from claas.core.errors import NotFound
from claas.dashboard.pages import ROOT, Addresses, render
from claas.results.listing import STATES, VERDICTS, ListQuery
from claas.results.overview import Listed, RunRow, State, differing, listed
from claas.results.run_index import find_runs

OF_EVERY_ROW = ("base_model", "mode", "seed", "arm")
"""Settings that stand in a row whether or not they differ."""

MOST_CHIPS = 4
"""Settings that a row shows of those that differ."""

NEW_ROWS_S = 0.7
"""For how long one page reads runs that no page has shown before; the next one goes on with the rest."""


def runs_page(results: Path, addresses: Addresses, query: "RunQuery") -> str:
    """HTML of one page of the runs below `results`; `NotFound` beyond the last."""
    newest_first = sorted(find_runs(results), key=lambda folder: folder.name, reverse=True)
    return render(
        "runs.html",
        page=page_of_runs(listed(newest_first, NEW_ROWS_S), query),
        query=query,
        folder=results,
        root=ROOT,
        addresses=addresses,
        states=STATES,
        most_chips=MOST_CHIPS,
        verdicts=VERDICTS,
    )


@dataclass(frozen=True)
class RunQuery:
    """What to list (`ListQuery`, `tag` being one or more words). `sort`: a key of `SORTS`, turned round by
    `descending`. `page` counts from 1.
    """

    q: str = ""
    state: str = ""
    verdict: str = ""
    tag: str = ""
    archived: bool = False
    sort: str = "started"
    descending: bool = True
    page: int = 1
    per_page: int = 50

    def __post_init__(self) -> None:
        _ = self.wanted
        one_of("sort", self.sort, tuple(SORTS))

    def on(self, page: int) -> "RunQuery":
        """Another page of the same list."""
        return replace(self, page=page)

    def sorted_by(self, key: str) -> "RunQuery":
        """The first page sorted by a column, the other way round where it is already."""
        return replace(self, sort=key, descending=not self.descending if key == self.sort else True, page=1)

    def tagged(self, tag: str) -> "RunQuery":
        """The first page of the runs with a tag."""
        return replace(self, tag=tag, page=1)

    def parameters(self) -> dict[str, Any]:
        """The parameters of the address that asks for this; those that have their default are left out."""
        defaults = asdict(RunQuery())
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}

    @property
    def wanted(self) -> ListQuery:
        """Which runs; `InvalidInput` for a state or a verdict that there is not."""
        return ListQuery(self.q, self.state, self.verdict, tuple(self.tag.split()), self.archived)


@dataclass(frozen=True)
class RunPage:
    """A page of the list. `total` folders are there, `matching` of them as asked for, `waiting` of them yet to be read
    and `archived` of them left out unless they are asked for.

    `differ_in` are the settings that are not the same in all that match, and `tags` those of all folders. An empty
    list has one empty page.
    """

    runs: Sequence[Listed]
    matching: int
    total: int
    waiting: int
    pages: int
    differ_in: Sequence[str] = ()
    tags: Sequence[str] = ()
    archived: int = 0

    def own(self, row: RunRow) -> list[tuple[str, str]]:
        """What a run was given of the settings that are not the same in all runs that match."""
        return [(name, row.settings[name]) for name in self.differ_in if name in row.settings]

    @property
    def changing(self) -> bool:
        """Whether a run of this page goes on, or any has yet to be read."""
        return self.waiting > 0 or any(run.state is State.RUNNING for run in self.runs)


def page_of_runs(folders: Sequence[Listed], query: RunQuery) -> RunPage:
    """The page that is asked for; `NotFound` beyond the last. What has no row comes last, however it is sorted."""
    matching = [folder for folder in folders if query.wanted.matches(folder)]
    pages = max(1, -(-len(matching) // query.per_page))
    if query.page > pages:
        raise NotFound(f"page={query.page} is beyond the last page of the runs, which is page={pages}")
    rows = sorted((folder for folder in matching if folder.row), key=_key(query.sort), reverse=query.descending)
    rest = sorted((folder for folder in matching if not folder.row), key=lambda folder: folder.name)
    start = (query.page - 1) * query.per_page
    waiting = sum(folder.state is State.WAITING for folder in folders)
    return RunPage(
        [*rows, *rest][start : start + query.per_page],
        len(matching),
        len(folders),
        waiting,
        pages,
        [name for name in differing([each.row for each in rows if each.row]) if name not in OF_EVERY_ROW],
        sorted({tag for folder in folders for tag in folder.labels.tags}),
        sum(folder.labels.archived for folder in folders),
    )


def _key(sort: str) -> Callable[[Listed], Any]:
    """Ties are broken by the time of the start, then by name."""

    def key(listed: Listed) -> Any:
        assert listed.row is not None
        return SORTS[sort](listed, listed.row), listed.row.created, listed.name

    return key


def _least_compliant(row: RunRow) -> float:
    return min((value for preference in row.preferences if (value := preference.last_value) is not None), default=-1.0)


SORTS: dict[str, Callable[[Listed, RunRow], Any]] = {
    "started": lambda listed, row: row.created,
    "run": lambda listed, row: listed.name,
    "model": lambda listed, row: row.base_model,
    "verdict": lambda listed, row: VERDICTS.index(row.verdict) if row.verdict else len(VERDICTS),
    "held-out": lambda listed, row: _least_compliant(row),
    "steps": lambda listed, row: row.updates,
    "tokens": lambda listed, row: row.tokens,
    "time": lambda listed, row: row.seconds,
}
"""What the list can be sorted by: of several preferences, the least compliant counts."""
