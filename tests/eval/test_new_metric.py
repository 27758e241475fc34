"""A judged metric is one file and one line: the one in CONTRIBUTING.md, run, and found everywhere."""

import asyncio
import io
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from claas.core.errors import InvalidInput
from claas.dashboard.compare_page import compare_page
from claas.dashboard.pages import Addresses
from claas.dashboard.run_page import run_page
from claas.dashboard.step_choice import StepQuery
from claas.dashboard.step_page import recorded_step_page
from claas.eval.reporters.console import PlainReporter
from claas.eval.runner import prepare, run_harness
from claas.results.charts import from_transcripts, pictures
from claas.results.keys import keys_of_schema_1
from claas.results.run_files import PreferenceRecords, RunFiles
from claas.results.run_index import read_run
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from tests.dashboard.page_reader import Page
from tests.eval.every_metric import opening
from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.fakes.stack import FakeStack

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"


def block(language: str) -> str:
    """The code of that language in the guide's section about metrics."""
    section = GUIDE.read_text(encoding="utf-8").partition("## Add a metric")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[0]


def grows_polite() -> FakeStack:
    """A stack that says please from its first update on, whatever is asked."""
    return FakeStack(say=lambda adapter, prompt, seed: f"{prompt} {'please ' * adapter.version}{seed % 7}", shift=0.1)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvalConfig]:
    """What a user writes: the file, the line, and the run that is asked for."""
    folder = tmp_path_factory.mktemp("metric")
    (folder / "my_metrics.py").write_text(block("python"))
    small_preferences(folder / "my_configs", "calm")
    (folder / "my_configs" / "metrics.yaml").write_text(block("yaml"))
    sys.path.insert(0, str(folder))
    yield EvalConfig(
        preferences=["calm"],
        metrics=["compliance", "politeness"],
        num_steps=2,
        batch_size=2,
        output_dir=str(folder / "runs" / "one"),
        config_dir=str(folder / "my_configs"),
    )
    sys.path.remove(str(folder))
    sys.modules.pop("my_metrics", None)


@pytest.fixture(scope="module")
def screen() -> dict[str, Console]:
    return {name: Console(file=io.StringIO(), width=160) for name in ("progress", "results")}


@pytest.fixture(scope="module")
def results(mine: EvalConfig, screen: dict[str, Console]) -> RunResults:
    reporter = PlainReporter(screen["progress"], screen["results"])
    return asyncio.run(run_harness(mine, reporter, open_stack=opening(grows_polite())))


def shown(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


def test_the_terminal_shows_it_while_the_run_goes_on_and_in_the_verdict(
    results: RunResults, screen: dict[str, Console]
) -> None:
    assert "polite 0.00" in shown(screen["progress"])
    assert "calm: step 2/2  held-out" in shown(screen["progress"])
    assert "polite 1.00" in shown(screen["progress"])
    assert re.search(r"politeness +0\.000 +1\.000 +0\.\d+ to 1\.000 +>= 0\.6 +4", shown(screen["results"]))
    assert results.new_steps == 2


def test_the_summary_judges_it_by_the_threshold_of_its_line(results: RunResults) -> None:
    found = results.summary.preferences["calm"]
    ruling = found.criteria["politeness"]
    assert (ruling.value, ruling.threshold, ruling.relation, ruling.n) == (1.0, 0.6, ">=", 4)
    assert ruling.ci is not None
    assert ruling.formula.startswith("mean score over the everyday questions; Wilson interval")
    assert found.delta_ci["politeness"] is None, "four equal changes are too few for an interval"
    assert found.changed_items["politeness"].gained == ["0", "1", "2", "3"]
    assert results.config.criteria["politeness"] == 0.6
    assert found.not_measured == [
        "margin_gain", "knowledge_retention", "form_retention", "entropy_ratio", "self_rouge_l", "mean_logprob_drift"
    ]  # fmt: skip


def test_a_picture_shows_it_with_its_intervals_and_its_threshold(results: RunResults) -> None:
    history = results.preferences["calm"]
    drawn = pictures(results.config.criteria, results.preferences, from_transcripts(0.95))
    [(picture, panel)] = [(each.name, panel) for each in drawn for panel in each.panels if panel.key == "politeness"]
    assert (picture, panel.title, panel.label) == ("compliance", "Everyday questions", "share of polite answers")
    assert panel.threshold is not None
    assert (panel.threshold.at, panel.threshold.label) == (0.6, "criterion: ≥ 0.6")
    assert panel.points(history) == {0: 0.0, 1: 1.0, 2: 1.0}
    assert panel.intervals(history).keys() == {0, 1, 2}
    assert (results.run_dir / "plots" / "compliance.png").is_file()


def test_the_pages_of_the_run_and_of_its_steps_show_it(results: RunResults) -> None:
    run = read_run("one", results.run_dir)
    page = Page(run_page(run, Addresses()))
    for words in ("politeness", "Everyday questions", "≥ 0.6", "Politeness: 0 lost, 4 gained of 4"):
        assert words in page.text
    step = Page(recorded_step_page(run, "calm", StepQuery(2), Addresses()))
    assert "politeness 0 → 1: 4 items 0 1 2 3" in step.text, "the items that changed since baseline, by name"


def test_it_is_compared_with_that_of_another_run(mine: EvalConfig, results: RunResults) -> None:
    other = replace(mine, output_dir=f"{results.run_dir.parent}/two", seed=7, plots=False)
    asyncio.run(run_harness(other, open_stack=opening(FakeStack(shift=0.1))))
    runs = [read_run(name, results.run_dir.parent / name) for name in ("one", "two")]
    page = Page(compare_page(runs, Addresses()))
    assert page.text.lower().count("politeness") >= 3, "its values, their difference, and its items"
    assert "of 4 items 4 pass in A only and 0 in B only" in page.text


def test_its_numbers_are_recomputed_from_the_record(results: RunResults) -> None:
    require_recomputable(results.run_dir)


def test_its_declarations_are_recorded_so_that_nothing_else_is_needed_to_judge_the_run(
    results: RunResults, tmp_path: Path
) -> None:
    copied = shutil.copytree(results.run_dir, tmp_path / "copied")
    records = PreferenceRecords.read_whole(RunFiles(copied).preference("calm"))
    assert "politeness" in {key.key for key in records.keys}
    page = Page(run_page(read_run("copied", copied), Addresses()))
    assert "Everyday questions" in page.text


def test_its_threshold_can_be_set_for_one_run_and_a_wrong_name_or_value_is_refused(mine: EvalConfig) -> None:
    assert prepare(replace(mine, criteria={"politeness": 0.9}))[0].criteria["politeness"] == 0.9
    with pytest.raises(InvalidInput, match=r"unknown key 'criteria\.politenes'; did you mean criteria\.politeness\?"):
        prepare(replace(mine, criteria={"politenes": 0.9}))
    with pytest.raises(
        InvalidInput,
        match=r"unknown key 'criteria\.zzz'; known: criteria\.heldout_compliance, criteria\.probe_compliance, ",
    ):
        prepare(replace(mine, criteria={"zzz": 0.9}))
    with pytest.raises(InvalidInput, match=r"criteria\.politeness must be >= 0 and <= 1, got 2"):
        prepare(replace(mine, criteria={"politeness": 2.0}))


def test_a_run_that_recorded_no_declarations_is_shown_by_what_its_keys_meant() -> None:
    titles = {key.key: key.title for key in keys_of_schema_1()}
    assert titles["heldout_compliance"] == "Held-out prompts"
    thresholds = {key.criterion.name: key.criterion.threshold for key in keys_of_schema_1() if key.criterion}
    assert thresholds == {
        "margin_gain": 2.0,
        "heldout_compliance": 0.8,
        "capability_retention": 0.9,
        "entropy_ratio": 0.6,
        "self_rouge_l": 0.85,
        "mean_logprob_drift": 2.0,
    }
