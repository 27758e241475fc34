"""Verdicts as a CI server reads them: a case for each criterion, with its numbers; and as Markdown."""

import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase

import claas
from claas.eval.config.compose import compose
from claas.results.__main__ import main
from claas.results.junit import JudgedRun, junit_of, markdown_of, read_judged
from claas.results.records import Status
from claas.results.verdict import Verdict

ROOT = Path(claas.__file__).parents[1]
EXAMPLE = ROOT / "data" / "examples" / "concise-3-steps"


@pytest.fixture(scope="module")
def run() -> JudgedRun:
    return read_judged(EXAMPLE)


def cases(text: str) -> dict[str, TestCase]:
    (suite,) = JUnitXml.fromstring(text.encode())
    return {case.name: case for case in suite}


def changed(run: JudgedRun, criterion: str, **changes: object) -> JudgedRun:
    """The run with another ruling on one criterion."""
    found = run.summary.preferences["concise"]
    rulings = {**found.criteria, criterion: found.criteria[criterion].model_copy(update=changes)}
    return with_preference(run, criteria=rulings)


def with_preference(run: JudgedRun, **changes: object) -> JudgedRun:
    found = run.summary.preferences["concise"].model_copy(update=changes)
    return replace(run, summary=run.summary.model_copy(update={"preferences": {"concise": found}}))


def test_each_criterion_is_a_case_and_one_that_is_undecided_is_skipped(run: JudgedRun) -> None:
    (suite,) = JUnitXml.fromstring(junit_of([run]).encode())
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == ("concise-3-steps", 7, 0, 0, 1)
    found = {case.name: case for case in suite}
    assert list(found) == list(run.summary.preferences["concise"].criteria)
    assert {case.classname for case in found.values()} == {"concise-3-steps.concise"}
    (skipped,) = found["heldout_compliance"].result
    assert isinstance(skipped, Skipped)
    assert skipped.message == (
        "inconclusive: heldout_compliance 0.891 (95 % CI 0.791 to 0.946), wanted >= 0.8, n = 64; needs n ≥ 134 to "
        "conclude with probability 0.8, if the truth is as estimated"
    )
    assert found["margin_gain"].result == []
    assert found["margin_gain"].system_out == "margin_gain 41.1 (95 % CI 19.5 to 62.7), wanted > 2, n = 12"
    properties = {each.name: each.value for each in suite.properties()}
    assert (properties["seed"], properties["verdict"]) == ("42", "inconclusive")
    assert suite.time == pytest.approx(sum(run.summary.timing_s.values()), abs=0.001)


def test_undecided_can_be_a_failure(run: JudgedRun) -> None:
    (failure,) = cases(junit_of([run], "failure"))["heldout_compliance"].result
    assert isinstance(failure, Failure)
    assert failure.type == "inconclusive"


def test_a_failed_criterion_says_its_numbers(run: JudgedRun) -> None:
    failed = changed(run, "margin_gain", verdict=Verdict.FAIL, value=0.5, ci=(0.25, 0.75), note=None)
    (failure,) = cases(junit_of([failed]))["margin_gain"].result
    assert isinstance(failure, Failure)
    assert failure.message == "fail: margin_gain 0.500 (95 % CI 0.250 to 0.750), wanted > 2, n = 12"
    assert failure.text == run.summary.preferences["concise"].criteria["margin_gain"].formula


def test_a_preference_that_ended_early_is_an_error_of_its_own(run: JudgedRun) -> None:
    ended = with_preference(run, status=Status.FAILED, reason="ended after 1 of 3 steps: no memory left", criteria={})
    (error,) = cases(junit_of([ended]))["the run"].result
    assert isinstance(error, Error)
    assert (error.type, error.message) == ("failed", "ended after 1 of 3 steps: no memory left")


def test_text_that_xml_or_markdown_would_read_otherwise_is_text(run: JudgedRun) -> None:
    hostile = changed(run, "margin_gain", note="]]> <b> & \x1b[31m \x00 | `x`", verdict=Verdict.FAIL)
    (failure,) = cases(junit_of([hostile]))["margin_gain"].result
    assert "]]> <b> &  [31m   | `x`" in failure.message
    shown = markdown_of([with_preference(run, reason="<script>|`x`")])
    assert "\\<script\\>\\|\\`x\\`" in shown


def test_a_criterion_that_was_not_measured_says_so(run: JudgedRun) -> None:
    absent = changed(run, "margin_gain", value=None, ci=None, n=0, verdict=Verdict.INCONCLUSIVE, note="lost")
    (skipped,) = cases(junit_of([absent]))["margin_gain"].result
    assert skipped.message == "inconclusive: margin_gain not measured, wanted > 2, n = 0; lost"
    assert "| concise | margin\\_gain |  |  | `> 2` | 0 | **inconclusive** |" in markdown_of([absent])


def test_control_arms_are_not_judged(run: JudgedRun) -> None:
    control = run.summary.preferences["concise"].model_copy(update={"control_of": "concise", "criteria": {}})
    both = run.summary.model_copy(update={"preferences": {**run.summary.preferences, "concise@neutral": control}})
    assert junit_of([replace(run, summary=both)]) == junit_of([run])


def test_markdown_is_a_table_of_every_criterion(run: JudgedRun) -> None:
    lines = markdown_of([run]).splitlines()
    assert lines[0] == "### concise-3-steps: INCONCLUSIVE"
    rows = [line for line in lines if line.startswith("| concise |")]
    assert len(rows) == 7
    assert rows[0] == "| concise | heldout\\_compliance | 0.891 | 0.791 to 0.946 | `>= 0.8` | 64 | **inconclusive** |"
    assert all(row.count("|") == 8 for row in rows)


def test_the_command_writes_one_file_for_all_runs_and_appends_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, shown = tmp_path / "junit.xml", tmp_path / "summary.md"
    shown.write_text("before\n")
    asked = ["junit", str(EXAMPLE), str(EXAMPLE.with_name("smollm2-concise")), "-o", str(output)]
    assert main([*asked, "--markdown", str(shown)]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    suites = list(JUnitXml.fromfile(str(output)))
    assert [suite.name for suite in suites] == ["concise-3-steps", "smollm2-concise"]
    root = ElementTree.parse(output).getroot()
    assert root.get("tests") == str(sum(suite.tests for suite in suites))
    assert shown.read_text().startswith("before\n### concise-3-steps: ")
    assert main(["junit", str(tmp_path)]) == 2
    assert "is not a run's folder" in capsys.readouterr().err


def test_a_run_that_has_come_to_no_verdict_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(EXAMPLE / "config.json", tmp_path)
    assert main(["junit", str(tmp_path)]) == 2
    assert "has no summary.json yet, which a run's end writes" in capsys.readouterr().err
    assert not (tmp_path / "junit.xml").exists()


def test_the_github_example_runs_commands_that_there_are() -> None:
    workflow = yaml.safe_load((ROOT / "examples" / "ci" / "github-actions.yml").read_text())
    (job,) = workflow["jobs"].values()
    commands = [step["run"].replace("'", "").split() for step in job["steps"] if "run" in step]
    asked = {tuple(command[:2]): command[2:] for command in commands}
    (run,) = compose(asked["claas", "eval"])
    assert run.config.fail_on_verdict
    assert asked["claas", "results"][:2] == ["junit", run.config.output_dir]
