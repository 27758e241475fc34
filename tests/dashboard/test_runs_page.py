"""The page of all runs: a row for each with what became of it, forms that work without scripts, whatever the names."""

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from claas.core.errors import NotFound
from claas.dashboard.pages import Addresses
from claas.dashboard.run_list import SORTS, STATES, VERDICTS, RunQuery, runs_page
from tests.dashboard.page_reader import Page, rows
from tests.dashboard.test_results_folders import ODD_NAMES
from tests.dashboard.written_runs import few, worked_on, write_run
from tests.results.synthetic_runs import make_history


def page_of(results: Path, addresses: Addresses | None = None, **wanted: object) -> Page:
    page = Page(runs_page(results, addresses or Addresses(), RunQuery(**wanted)))
    assert page.strange() == page.barriers() == []
    return page


def named(page: Page) -> list[str]:
    """The runs of the page in its order."""
    return [row[1] for row in rows(page.one("table"))]


def test_a_row_says_what_became_of_a_run(tmp_path: Path) -> None:
    write_run(
        tmp_path / "good", {"concise": make_history(steps=6)}, created="2026-01-02T03:04:05+00:00", seed=7,
    )  # fmt: skip
    write_run(tmp_path / "half", {"concise": few(steps=4, done=2)}, created="2026-01-01T00:00:00", summarised=False)
    (tmp_path / "empty").mkdir()
    page = page_of(tmp_path)
    good, half, empty = rows(page.one("table"))
    assert good[1:4] == ["good", "pass", "claas-tinylocal, seed 7num_steps=6"]
    assert good[4] == "concise 1.00 pass"
    assert good[5:] == ["6", "3.1k", "0:02", "2026-01-02 03:04"]
    assert half[1:4] == ["half", "stopped", "claas-tinylocal, seed 42num_steps=4"]
    assert half[5] == "2of 4"
    assert empty[1:] == ["empty", "unreadable no run: an empty folder"]
    assert f"3 of 3 in {tmp_path}" in page.text
    drawn = page.all("svg", class_="spark")
    assert [each.attributes["aria-label"] for each in drawn] == [
        "held-out compliance of concise: 0.047 to 1.00 over 6 updates",
        "held-out compliance of concise: 0.00 to 0.75 over 2 updates",
    ]


def test_a_running_run_is_listed_as_such_and_a_damaged_one_with_its_problems(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=4, done=2)}, summarised=False)
    with (tmp_path / "run" / "concise" / "steps.jsonl").open("a") as file:
        file.write("no step\n")
    with worked_on(tmp_path / "run"):
        assert rows(page_of(tmp_path).one("table"))[0][2] == "running 1 problem in its records"
    (tmp_path / "run" / "summary.json").write_text("no summary")
    assert rows(page_of(tmp_path).one("table"))[0][2] == "stopped 2 problems in its records"


def test_an_empty_folder_says_how_to_begin_and_a_search_without_result_how_to_go_back(tmp_path: Path) -> None:
    empty = page_of(tmp_path)
    assert "No run is in" in empty.text
    assert "python -m claas.eval" in empty.text
    assert empty.all("table") == []
    write_run(tmp_path / "run", {})
    none = page_of(tmp_path, q="other")
    assert "No run matches." in none.text
    assert "/v1/eval" in [each.attributes["href"] for each in none.all("a") if each.text == "Show all"]
    with pytest.raises(NotFound):
        page_of(tmp_path, page=2)


def test_the_filters_are_a_form_that_keeps_what_was_chosen(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=1)})
    page = page_of(
        tmp_path, Addresses(str(tmp_path)), q='"<b>', state="complete", verdict="", sort="run", descending=False
    )
    form = page.one("form", class_="filters")
    assert (form.attributes["action"], form.attributes["method"]) == ("/v1/eval", "get")
    sent = {
        each.attributes["name"]: each.attributes["value"] for each in page.all("input") if each.ancestors[-1] is form
    }
    assert sent == {"results_dir": str(tmp_path), "sort": "run", "descending": "false"}
    assert page.one("input", type="search").attributes["value"] == '"<b>'
    options = {
        each.attributes["name"]: [(option.text, "selected" in option.attributes) for option in each.children]
        for each in page.all("select")
    }
    assert options == {
        "state": [("any", False), *((state, state == "complete") for state in STATES)],
        "verdict": [("any", False), *((verdict, False) for verdict in VERDICTS)],
    }


def test_every_column_leads_to_the_list_sorted_by_it(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=1)})
    page = page_of(tmp_path, sort="tokens", q="run", per_page=7)
    links = {
        each.text.strip(" ▾\n"): query(each.children[0].attributes["href"]) for each in page.all("th", scope="col")
    }
    assert {found.get("sort", "started") for found in links.values()} == set(SORTS)
    assert all(found["q"] == "run" and found["per_page"] == "7" for found in links.values())
    assert links["Tokens"] == {"q": "run", "per_page": "7", "sort": "tokens", "descending": "False"}
    assert "descending" not in links["Model, what differs"]
    (sorted_by,) = [each for each in page.all("th", scope="col") if "aria-sort" in each.attributes]
    assert (sorted_by.text.strip(" ▾\n"), sorted_by.attributes["aria-sort"]) == ("Tokens", "descending")


def query(address: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(address).query, keep_blank_values=True).items()}


def test_pages_lead_to_each_other_with_what_was_asked_for(tmp_path: Path) -> None:
    for number in range(5):
        write_run(tmp_path / f"run {number}", {}, created=f"2026-01-0{number + 1}")
    page = page_of(tmp_path, q="run", per_page=2, page=2)
    assert named(page) == ["run 2", "run 1"], "newest first"
    assert "Page 2 of 3" in page.text
    assert query(page.one("a", rel="prev").attributes["href"]) == {"q": "run", "per_page": "2"}
    assert query(page.one("a", rel="next").attributes["href"]) == {"q": "run", "per_page": "2", "page": "3"}


def test_any_name_is_shown_as_it_is_and_its_link_names_it(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        write_run(tmp_path / name, {})
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    page = page_of(tmp_path, sort="run")
    links = [each for each in page.all("a") if each.attributes["href"].startswith("/v1/eval/run?")]
    assert {query(each.attributes["href"])["run"] for each in links} == set(ODD_NAMES)
    assert {each.text for each in links} == set(ODD_NAMES)
    assert {each.attributes["value"] for each in page.all("input", type="checkbox")} == set(ODD_NAMES)
    assert "\ufffd" in named(page)
