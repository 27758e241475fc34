"""The list of runs: filtered, sorted, and cut into pages."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claas.core.checks import one_of
from claas.core.errors import NotFound
from claas.dashboard.overview import Listed, PreferenceRow, RunRow, State, last_value, listed
from claas.dashboard.pages import ROOT, Addresses, render
from claas.dashboard.run_index import find_runs
from claas.results.verdict import Verdict

STATES = tuple(state.value for state in State)
VERDICTS = tuple(verdict.value for verdict in Verdict)


@dataclass(frozen=True)
class Wanted:
    """What to list. `q`: words that must all occur in the run's name, model or preferences. `state` and `verdict`:
    only those; "" means any. `sort`: a key of `SORTS`, turned round by `descending`. `page` counts from 1.
    """

    q: str = ""
    state: str = ""
    verdict: str = ""
    sort: str = "started"
    descending: bool = True
    page: int = 1
    per_page: int = 50

    def __post_init__(self) -> None:
        one_of("state", self.state, ("", *STATES))
        one_of("verdict", self.verdict, ("", *VERDICTS))
        one_of("sort", self.sort, tuple(SORTS))


@dataclass(frozen=True)
class RunPage:
    """A page of the list. `total` folders are there, `matching` of them as wanted, `waiting` of them yet to be read."""

    wanted: Wanted
    runs: Sequence[Listed]
    matching: int
    total: int
    waiting: int

    @property
    def changing(self) -> bool:
        """Whether a run of this page goes on, or any has yet to be read."""
        return self.waiting > 0 or any(each.state is State.RUNNING for each in self.runs)

    @property
    def pages(self) -> int:
        """At least 1: an empty list has one empty page."""
        return max(1, -(-self.matching // self.wanted.per_page))


def run_page(found: Sequence[Listed], wanted: Wanted) -> RunPage:
    """The wanted page; `NotFound` beyond the last. What has no row comes last, however it is sorted."""
    matching = [each for each in found if _matches(each, wanted)]
    rows = sorted((each for each in matching if each.row), key=_key(wanted.sort), reverse=wanted.descending)
    rest = sorted((each for each in matching if not each.row), key=lambda each: each.name)
    waiting = sum(each.state is State.WAITING for each in found)
    start = (wanted.page - 1) * wanted.per_page
    page = RunPage(wanted, [*rows, *rest][start : start + wanted.per_page], len(matching), len(found), waiting)
    if wanted.page > page.pages:
        raise NotFound(f"page={wanted.page} is beyond the last page of the runs, which is page={page.pages}")
    return page


def _matches(listed: Listed, wanted: Wanted) -> bool:
    row = listed.row
    text = [listed.name, *((row.base_model, *(each.name for each in row.preferences)) if row else ())]
    folded = " ".join(text).casefold()
    return (
        all(word in folded for word in wanted.q.casefold().split())
        and wanted.state in ("", listed.state.value)
        and (not wanted.verdict or (row is not None and row.verdict is not None and row.verdict == wanted.verdict))
    )


def _key(sort: str) -> Callable[[Listed], Any]:
    """Ties are broken by the time of the start, then by name."""

    def key(listed: Listed) -> Any:
        assert listed.row is not None
        return SORTS[sort](listed, listed.row), listed.row.created, listed.name

    return key


def _worst(rows: Iterable[PreferenceRow]) -> float:
    known = [value for row in rows if (value := last_value(row)) is not None]
    return min(known, default=-1.0)


SORTS: dict[str, Callable[[Listed, RunRow], Any]] = {
    "started": lambda listed, row: row.created,
    "run": lambda listed, row: listed.name,
    "model": lambda listed, row: row.base_model,
    "verdict": lambda listed, row: VERDICTS.index(row.verdict) if row.verdict else len(VERDICTS),
    "held-out": lambda listed, row: _worst(row.preferences),
    "steps": lambda listed, row: row.updates,
    "tokens": lambda listed, row: row.tokens,
    "time": lambda listed, row: row.seconds,
}
"""What the list can be sorted by: of several preferences, the least compliant counts."""


NEW_ROWS_S = 0.7
"""For how long one page reads runs that no page has shown before; the next one goes on with the rest."""


def runs_page(results: Path, addresses: Addresses, wanted: Wanted) -> str:
    """HTML of one page of the runs below `results`; `NotFound` beyond the last."""
    newest_first = sorted(find_runs(results), key=lambda folder: folder.name, reverse=True)
    page = run_page(listed(newest_first, NEW_ROWS_S), wanted)

    def address(**changes: object) -> str:
        """This list with something changed."""
        query = asdict(wanted) | changes
        return addresses.runs({name: value for name, value in query.items() if value != _DEFAULTS[name]})

    def sorted_by(key: str) -> str:
        """The first page sorted by a column, the other way round where it is already."""
        return address(sort=key, descending=not wanted.descending if key == wanted.sort else True, page=1)

    def at_page(number: int) -> str:
        return address(page=number)

    return render(
        "runs.html",
        page=page,
        wanted=wanted,
        folder=results,
        root=ROOT,
        addresses=addresses,
        states=STATES,
        verdicts=VERDICTS,
        sorted_by=sorted_by,
        at_page=at_page,
    )


_DEFAULTS = asdict(Wanted())
