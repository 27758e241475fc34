"""A list of many runs that no page has shown before: it comes at once, and fills as it is asked for again."""

from pathlib import Path

import pytest

from claas.dashboard.pages import Addresses
from claas.dashboard.run_list import RunQuery, runs_page
from claas.results.overview import listed
from claas.results.run_index import find_runs
from tests.dashboard.written_runs import few, write_run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        write_run(tmp_path / name, {"concise": few()})
    return tmp_path


def test_runs_that_there_is_no_time_for_are_waiting_and_not_unreadable(results: Path) -> None:
    found = listed(find_runs(results), new_rows_s=-1)
    assert [(each.state, each.row, each.problem) for each in found] == [("waiting", None, None)] * 3


def test_what_was_read_once_is_not_waited_for_again(results: Path) -> None:
    listed([folder for folder in find_runs(results) if folder.name != "b"], new_rows_s=60)
    assert {each.name: each.state for each in listed(find_runs(results), new_rows_s=-1)} == {
        "a": "complete",
        "b": "waiting",
        "c": "complete",
    }


def test_the_page_says_how_many_are_left_and_asks_again(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claas.dashboard.run_list.NEW_ROWS_S", -1)
    waiting = runs_page(results, Addresses(), RunQuery())
    assert "3 runs have yet to be read" in waiting
    assert "data-running" in waiting
    monkeypatch.undo()
    complete = runs_page(results, Addresses(), RunQuery())
    assert "yet to be read" not in complete
    assert "data-running" not in complete
