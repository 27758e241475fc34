"""A probe writes the baseline that is missing, names the tasks that dropped, and says which drops are noise."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from claas.bench.catalogue import chosen
from claas.bench.probe import PROBED, Measure, MidTrainingProbe, main
from claas.bench.settings import BenchConfig
from claas.core.errors import InvalidInput
from claas.results.pairing import ScoredRun, read_scored_run
from tests.bench.benchmark_folders import write_run

STRONG = [1.0] * 60 + [0.0] * 40
NOISE = [0.0] * 14 + [1.0] * 46 + [1.0] * 8 + [0.0] * 32
LOST = [0.0] * 20 + [1.0] * 40 + [0.0] * 40


class Measured:
    """Stands in for lm-eval: these scores for every task that is asked, whatever the model."""

    def __init__(self, folder: Path, scores: Mapping[str, Sequence[float]]) -> None:
        self.folder = folder
        self.scores = scores
        self.asked: list[BenchConfig] = []

    def __call__(self, config: BenchConfig) -> ScoredRun:
        self.asked.append(config)
        asked = chosen(None, config.tasks, limit=config.limit, num_fewshot=None)
        tasks = {entry.task: self.scores.get(entry.task, STRONG) for entry in asked.entries}
        limits = dict.fromkeys(tasks, config.limit)
        name, adapter = str(config.name), config.adapters[0] if config.adapters else None
        return read_scored_run(write_run(self.folder, name, tasks, limits=limits, adapter=adapter))


def with_baseline(tmp_path: Path, scores: Mapping[str, Sequence[float]]) -> Measure:
    """A runner of a model with these scores, after that of the baseline has run."""
    assert main([f"baseline={tmp_path / 'baseline.json'}"], Measured(tmp_path, {})) == 0
    return Measured(tmp_path, scores)


def test_a_missing_baseline_is_written_of_one_task_for_each_capability(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = Measured(tmp_path, {})
    assert main([f"baseline={tmp_path / 'deep' / 'baseline.json'}"], runner) == 0
    assert "is written" in capsys.readouterr().out
    written = json.loads((tmp_path / "deep" / "baseline.json").read_text())
    assert written["tasks"] == {task: {"metric": "acc", "value": 0.6, "n": 100} for task in PROBED}
    assert (runner.asked[0].tasks, runner.asked[0].limit, runner.asked[0].adapters) == (list(PROBED), 100, [])


def test_an_equal_model_has_not_regressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = with_baseline(tmp_path, {})
    assert main([f"baseline={tmp_path / 'baseline.json'}", "adapter=eval-concise@20"], runner) == 0
    out = capsys.readouterr().out
    assert "no regression" in out
    assert "mmlu: 0.600 -> 0.600 (0.000)" in out


def test_regressed_tasks_are_named_with_exit_code_2_and_noise_is_called_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = with_baseline(tmp_path, {"gsm8k": NOISE, "mmlu": LOST})
    arguments = [f"baseline={tmp_path / 'baseline.json'}", "adapter=eval-concise@20"]
    assert main([*arguments, f"output={tmp_path / 'report.json'}"], runner) == 2
    out = capsys.readouterr().out
    assert "REGRESSION: mmlu, gsm8k" in out
    # One of four: (2.4977 + .84162)² * (.4712 / .0588)² - 2
    assert "gsm8k: 0.600 -> 0.540 (−0.060): dropped, within noise (p = 0.31): about 714 items would settle it" in out
    assert "mmlu: 0.600 -> 0.400 (−0.200): dropped, beyond noise" in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["has_regression"], report["model_name"]) == (True, "eval-concise@20")
    assert report["deltas"]["gsm8k"]["confirmed"] is False


def test_with_confirm_only_what_is_beyond_noise_counts(tmp_path: Path) -> None:
    runner = with_baseline(tmp_path, {"gsm8k": NOISE})
    arguments = [f"baseline={tmp_path / 'baseline.json'}", "adapter=eval-concise@20"]
    assert main(arguments, runner) == 2
    assert main([*arguments, "confirm=true"], runner) == 0
    assert main([*arguments, "tolerance=0.07"], runner) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["limit=50"], "was made with limit 100, and this is 50"),
        (["tasks=[mmlu]"], "was made with tasks arc_challenge, gsm8k, hellaswag, mmlu, and this is mmlu"),
        (["base_model=other"], "was made with base_model claas-tiny, and this is other"),
        (["baseline="], "give baseline=FILE"),
        (["limit=0"], "limit must be >= 1"),
        (["tolerance=-1"], "tolerance must be >= 0"),
        (["tolerence=0.1"], "did you mean tolerance"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with_baseline(tmp_path, {})
    runner = Measured(tmp_path, {})
    assert main([f"baseline={tmp_path / 'baseline.json'}", *arguments], runner) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert runner.asked == []


def test_a_group_is_probed_as_its_tasks(tmp_path: Path) -> None:
    arguments, runner = [f"baseline={tmp_path / 'b.json'}", "tasks=[quick]"], Measured(tmp_path, {})
    assert [main(arguments, runner), main(arguments, runner)] == [0, 0]
    assert "hellaswag" in json.loads((tmp_path / "b.json").read_text())["tasks"]


@pytest.mark.parametrize("content", ['{"mmlu": 0.64}', '{"schema_', "", "[" * 9999])
def test_a_file_that_is_no_baseline_is_said_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(content)
    assert main([f"baseline={path}"], Measured(tmp_path, {})) == 2
    assert "remove it to have it written anew" in capsys.readouterr().err
    assert path.read_text() == content


def test_a_training_probes_every_few_cycles_and_is_told_what_regressed(tmp_path: Path) -> None:
    runner = Measured(tmp_path, {})
    probe = MidTrainingProbe(None, tmp_path / "b.json", every_n_cycles=5, regression_tolerance=0.05, runner=runner)
    assert [cycle for cycle in range(-5, 12) if probe.should_run(cycle)] == [0, 5, 10]
    first = probe.run(cycle=0)
    assert (first.wrote_baseline, first.has_regression, first.regressed_tasks()) == (True, False, [])
    probe.model_name = "eval-concise@5"
    runner.scores = {"hellaswag": LOST}
    report = probe.run(cycle=5)
    assert (report.cycle, report.model_name) == (5, "eval-concise@5")
    assert report.has_regression
    assert report.regressed_tasks() == ["hellaswag"]


@pytest.mark.parametrize("changes", [{"every_n_cycles": 0}, {"regression_tolerance": -0.1}, {"limit": 0}])
def test_a_probe_of_impossible_settings_is_refused(tmp_path: Path, changes: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="must be >="):
        MidTrainingProbe("eval-concise@5", tmp_path / "b.json", **changes)  # pyright: ignore[reportArgumentType]
