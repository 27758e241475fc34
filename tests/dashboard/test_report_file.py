"""report.html: a run in one file, whatever its folder holds."""

import re
import shutil
from pathlib import Path

import pytest

from claas.core.errors import InvalidInput
from claas.dashboard.__main__ import main
from claas.dashboard.compare_page import require_comparable
from claas.dashboard.report import MOST_STEPS, write_report
from claas.results.records import History
from tests.dashboard.written_runs import EXAMPLE, few, write_run
from tests.results.synthetic_runs import make_history


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "run", ignore=shutil.ignore_patterns(".*")))


def held(report: str) -> set[str]:
    return set(re.findall(r'<script type="text/plain" id="(.*?)">', report))


def linked(report: str) -> set[str]:
    return set(re.findall(r'href="#(step/.*?)"', report))


def test_every_link_to_a_step_leads_into_the_file(example: Path) -> None:
    report = write_report(example).read_text()
    assert linked(report)
    assert linked(report) <= held(report)
    assert "transcripts of 4 of 4 measurements" in " ".join(report.split())


def test_a_long_run_s_report_holds_its_first_last_and_some_between(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": make_history(steps=30)})
    report = write_report(tmp_path / "run").read_text()
    updates = {int(each.split("/")[2]) for each in held(report)}
    assert {0, 30} <= updates
    assert len(updates) == MOST_STEPS
    assert f"transcripts of {MOST_STEPS} of 31 measurements" in " ".join(report.split())


def test_a_run_without_transcripts_has_a_report(tmp_path: Path) -> None:
    history = few(steps=2)
    assert history.baseline is not None
    bare = [record.model_copy(update={"rollouts": []}) for record in (history.baseline, *history.steps)]
    write_run(tmp_path / "run", {"concise": History("concise", 2, bare[0], tuple(bare[1:]))}, summarised=False)
    report = write_report(tmp_path / "run").read_text()
    assert held(report) == set()
    assert linked(report) == set()


def test_a_picture_of_the_user_s_own_is_no_obstacle(example: Path) -> None:
    (example / "plots").mkdir()
    (example / "plots" / "My chart.png").write_bytes(b"mine")
    (example / "plots" / "margins.png").write_bytes(b"drawn")
    report = write_report(example).read_text()
    assert "data:image/png;base64,ZHJhd24=" in report  # drawn
    assert "bWluZQ" not in report


def test_the_command_names_what_it_wrote_and_what_is_wrong(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(example)]) == 0
    assert capsys.readouterr().out == f"{example / 'report.html'}\n"
    assert main([str(example.parent)]) == 2
    assert "is not a run's folder" in capsys.readouterr().err


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"], [str(number) for number in range(13)]])
def test_what_cannot_be_compared_is_refused_before_anything_is_read(names: list[str]) -> None:
    with pytest.raises(InvalidInput):
        require_comparable(names)
