"""Preferences without held-out prompts: judged on the probe prompts, and everything that shows it says so."""

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from claas.core.errors import InvalidInput
from claas.dashboard.compare_page import compare_page
from claas.dashboard.pages import Addresses
from claas.dashboard.run_page import run_page
from claas.eval import audit
from claas.eval.config.catalog import load_metrics, resolve_criteria
from claas.eval.reporters.console import PlainReporter
from claas.eval.runner import run_harness
from claas.results.charts import from_transcripts, pictures
from claas.results.overview import overview
from claas.results.records import History
from claas.results.run_index import read_run
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from claas.results.verdict import Verdict
from tests.eval.recomputing import require_recomputable
from tests.eval.scripted_run import talkative
from tests.eval.small_preferences import small_preferences

SAID = "on prompts that were trained on; no held-out prompts given"
PROBES = [f"What is {thing}?" for thing in ("snow", "hail", "fog", "dew", "ice", "wind", "sleet", "mist")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Preferences as the documentation has them: `calm` and `brief` without held-out prompts, `kind` with two."""
    folder = small_preferences(tmp_path_factory.mktemp("mine"), "calm", "brief", "kind")
    for name in ("calm", "brief"):
        path = folder / "preference" / f"{name}.yaml"
        fields = yaml.safe_load(path.read_text()) | {"probe_prompts": PROBES * 3}
        fields["probe_prompts"] = [f"{prompt} Answer {i}." for i, prompt in enumerate(fields["probe_prompts"])]
        del fields["heldout_prompts"]
        path.write_text(yaml.safe_dump(fields))
    return folder


def run(folder: Path, run_dir: Path, screen: dict[str, Console], **settings: Any) -> RunResults:
    @asynccontextmanager
    async def open_stack(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Any, None]:
        yield talkative()

    chosen: dict[str, Any] = {"metrics": ["quick"], "num_steps": 2, "config_dir": str(folder)}
    chosen |= {"output_dir": str(run_dir)} | settings
    config = EvalConfig(**chosen)
    reporter = PlainReporter(screen["progress"], screen["results"])
    results = asyncio.run(run_harness(config, reporter, open_stack=open_stack))
    require_recomputable(results.run_dir)
    return results


@pytest.fixture(scope="module")
def screen() -> dict[str, Console]:
    return {name: Console(file=io.StringIO(), width=200) for name in ("progress", "results")}


@pytest.fixture(scope="module")
def results(folder: Path, screen: dict[str, Console], tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return run(folder, tmp_path_factory.mktemp("run") / "calm", screen, preferences=["calm"])


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def page_of(results: RunResults) -> str:
    index = read_run(results.run_dir.name, results.run_dir)
    return run_page(index, Addresses())


def test_compliance_is_judged_on_the_probe_prompts_under_a_name_of_its_own(results: RunResults) -> None:
    found = results.summary.preferences["calm"]
    assert found.criteria["probe_compliance"].verdict is Verdict.PASS
    assert (found.criteria["probe_compliance"].value, found.criteria["probe_compliance"].n) == (1.0, 24)
    assert "heldout_compliance" in found.not_measured
    assert "heldout_compliance" not in found.finals
    assert found.finals["preference_compliance"] == 1.0
    assert set(found.counts) == {"logprob_margin", "compliance", "sample"}


def test_summary_and_terminal_say_on_which_prompts(results: RunResults, screen: dict[str, Console]) -> None:
    found = results.summary.preferences["calm"]
    assert SAID in (found.criteria["probe_compliance"].note or "")
    assert SAID in found.reason
    assert SAID in shown(screen["progress"]), "while the run goes on"
    assert "trained on 1.00" in shown(screen["progress"])
    assert f"probe_compliance: judged {SAID}" in shown(screen["results"])


def test_the_page_and_the_list_say_so(results: RunResults) -> None:
    page = page_of(results)
    assert SAID in page
    assert "Does it generalise?" in page
    assert "held-out compliance of" not in page
    row = overview(read_run("calm", results.run_dir)).preferences[0]
    assert (row.last_value, row.note) == (1.0, f"judged {SAID}")
    assert SAID in row.drawn


def test_the_picture_says_so(results: RunResults) -> None:
    drawn = pictures(results.config.criteria, results.preferences, from_transcripts(0.95))
    history = results.preferences["calm"]
    panels = [panel for picture in drawn for panel in picture.panels if panel.measured(history)]
    [panel] = [panel for panel in panels if panel.key == "preference_compliance"]
    assert SAID in panel.title
    assert panel.intervals(history), "the interval of its own criterion"
    assert (results.run_dir / "plots" / "compliance.png").is_file()


def test_a_comparison_says_so(folder: Path, results: RunResults, screen: dict[str, Console], tmp_path: Path) -> None:
    other = run(folder, tmp_path / "other", screen, preferences=["calm"], seed=7, plots=False)
    runs = [read_run(each.run_dir.name, each.run_dir) for each in (results, other)]
    assert compare_page(runs, Addresses()).count(SAID) >= 3, "criteria, values and charts"


def test_beside_a_preference_with_held_out_prompts_each_has_its_own(
    folder: Path, screen: dict[str, Console], tmp_path: Path
) -> None:
    results = run(folder, tmp_path / "both", screen, preferences=["kind", "calm"])
    kind, calm = (results.summary.preferences[name] for name in ("kind", "calm"))
    assert "heldout_compliance" in kind.criteria
    assert "probe_compliance" not in kind.criteria
    assert SAID not in kind.reason
    assert "probe_compliance" in calm.criteria
    drawn = pictures(results.config.criteria, results.preferences, from_transcripts(0.95))
    [panel] = [panel for picture in drawn for panel in picture.panels if panel.key == "preference_compliance"]
    assert panel.title == f"kind: Probe prompts; calm: Probe prompts: {SAID}"
    assert not panel.intervals(History("none", 2))
    assert SAID in page_of(results)


def test_a_run_with_held_out_prompts_everywhere_says_nothing_of_it(
    folder: Path, screen: dict[str, Console], tmp_path: Path
) -> None:
    results = run(folder, tmp_path / "run", screen, preferences=["kind"])
    assert "probe_compliance" not in results.config.criteria
    assert "probe_compliance" not in results.summary.preferences["kind"].not_measured
    assert "no held-out prompts" not in page_of(results)


def test_its_threshold_can_be_set_whatever_the_preferences() -> None:
    metrics = load_metrics(["quick"])
    assert resolve_criteria({"probe_compliance": 0.7}, metrics)["probe_compliance"] == 0.7
    with pytest.raises(InvalidInput, match="probe_compliance must be"):
        resolve_criteria({"probe_compliance": 7}, metrics)


def test_the_audit_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["calm", "--config-dir", str(folder), "kind"]) == 0, "an option stands anywhere"
    assert f"compliance of calm is judged {SAID}" in capsys.readouterr().out


def test_checkpoints_that_the_run_does_not_have_are_left_out_and_named(
    folder: Path, screen: dict[str, Console], tmp_path: Path
) -> None:
    steps = [0, 5, 10, 15, 19]
    results = run(
        folder, tmp_path / "run", screen, preferences=["kind"], metrics=["collapse"], checkpoints=steps, plots=False
    )
    history = results.preferences["kind"]
    assert sorted(history.curve("collapse.mean_entropy")) == [0, 1], "the baseline, and what step 0 made"
    said = "checkpoints 5, 10, 15, 19 left out: with num_steps=2 the last step is 1"
    assert results.summary.preferences["kind"].notes == (said,)
    assert said in shown(screen["progress"])
    assert said in shown(screen["results"])
    assert said in page_of(results)
