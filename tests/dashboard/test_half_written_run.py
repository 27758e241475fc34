"""The page of a run that a crash, or a copy, has left without some of its files."""

from pathlib import Path

import pytest

from claas.dashboard.pages import Addresses
from claas.dashboard.report import report
from claas.dashboard.run_page import run_page
from tests.dashboard.page_reader import Page
from tests.dashboard.written_runs import few, read, write_run


@pytest.mark.parametrize("missing", ["metadata.json", "baseline.json", "steps.jsonl"])
def test_a_preference_without_one_of_its_files_is_shown_with_the_others(tmp_path: Path, missing: str) -> None:
    write_run(tmp_path / "run", {"concise": few(), "identity": few("identity")})
    (tmp_path / "run" / "concise" / missing).unlink()
    page = Page(run_page(read(tmp_path / "run"), Addresses()))
    assert [each.text.split()[0] for each in page.all("h2", id="preference-1") + page.all("h2", id="preference-2")] == [
        "concise",
        "identity",
    ]
    assert "identity: every measurement" in page.text
    assert "<h1><bdi>run</bdi>" in report(read(tmp_path / "run"))
