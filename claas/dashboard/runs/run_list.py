"""The list of runs: filtered, sorted, and cut into pages."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from claas.core.checks import one_of
from claas.core.errors import NotFound
from claas.dashboard.index.overview import Listed, PreferenceRow, RunRow, State
from claas.eval.verdicts.verdict import Verdict

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


def last_value(preference: PreferenceRow) -> float | None:
    """The last measured point of the preference's curve."""
    known = [value for _, value in sorted(preference.curve.items()) if value is not None]
    return known[-1] if known else None


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
