"""The list of all runs as a page."""

from dataclasses import asdict
from pathlib import Path

from claas.dashboard.addresses import ROOT, Addresses
from claas.dashboard.index.overview import listed
from claas.dashboard.index.run_folders import find_runs
from claas.dashboard.pages import render
from claas.dashboard.runs.run_list import STATES, VERDICTS, Wanted, run_page

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
