"""What lighteval and HELM have measured becomes rows of their own, which no row of lm-eval's is compared with."""

import json
from pathlib import Path
from typing import Any

import pytest

from claas.bench.import_results import main
from claas.dashboard.cohort import read_cohort
from claas.results.benchmarks import BenchmarkFiles, BenchmarkRun
from tests.dashboard.test_cohort import HALF, write

LIGHTEVAL: dict[str, Any] = {
    "config_general": {"lighteval_sha": "?", "model_name": "openai/concise@4", "max_samples": 10, "start_time": 1.5},
    "results": {
        "gsm8k|8": {"em": 0.5, "em_stderr": 0.1, "maj@8": None},
        "mmlu:anatomy|5": {"acc": 0.2, "acc_stderr": 0.05},
        "mmlu:virology|5": {"acc": 0.4, "acc_stderr": 0.05},
        "mmlu:_average|5": {"acc": 0.3, "acc_stderr": 0.04},
        "all": {"em": 0.5, "acc": 0.3},
    },
    "versions": {},
    "config_tasks": {
        "gsm8k|8": {
            "name": "gsm8k",
            "hf_repo": "openai/gsm8k",
            "hf_subset": "main",
            "effective_num_docs": -1,
            "version": 0,
        },
        "mmlu:anatomy|5": {"hf_repo": "cais/mmlu", "hf_subset": "anatomy", "effective_num_docs": 10, "version": 1},
        "mmlu:virology|5": {"hf_repo": "cais/mmlu", "hf_subset": "virology", "effective_num_docs": 10, "version": 1},
    },
    "summary_tasks": {},
    "summary_general": {},
}

HELM_RUN: dict[str, Any] = {
    "name": "mmlu:subject=anatomy,method=multiple_choice_joint,model=claas_concise-4",
    "scenario_spec": {
        "class_name": "helm.benchmark.scenarios.mmlu_scenario.MMLUScenario",
        "args": {"subject": "anatomy"},
    },
    "adapter_spec": {"method": "multiple_choice_joint", "max_train_instances": 5, "model": "claas/concise-4"},
    "metric_specs": [
        {"class_name": "helm.BasicGenerationMetric", "args": {"names": ["exact_match", "quasi_exact_match"]}},
        {"class_name": "helm.InstancesPerSplitMetric", "args": {}},
    ],
    "groups": ["mmlu"],
}


def stat(name: str, mean: float | None, **where: Any) -> dict[str, Any]:
    counted = {} if mean is None else {"sum": mean, "mean": mean}
    return {"name": {"name": name, "split": "test", **where}, "count": int(mean is not None), **counted}


def lighteval(folder: Path, content: object = LIGHTEVAL) -> Path:
    path = folder / "results" / "openai" / "concise@4" / "results_2026-01-02T03-04-05.123456.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return path


def helm(folder: Path, subject: str = "anatomy", mean: float = 0.5) -> Path:
    run = folder / "runs" / "mine" / f"mmlu:subject={subject}"
    run.mkdir(parents=True)
    named = HELM_RUN["name"].replace("anatomy", subject)
    (run / "run_spec.json").write_text(json.dumps({**HELM_RUN, "name": named}))
    worst = {"name": "robustness", "computed_on": "worst"}
    stats = [
        *(stat("num_instances", 4.0), stat("training_co2_cost", None), stat("inference_runtime", 0.7)),
        *(stat("exact_match", mean), stat("quasi_exact_match", 0.75), stat("exact_match", 0.0, perturbation=worst)),
        stat("exact_match", 0.9, split="valid"),
    ]
    (run / "stats.json").write_text(json.dumps(stats))
    instances = [{"instance_id": f"id{n}", "stats": [stat("exact_match", each)]} for n, each in enumerate([1, 1, 0, 0])]
    (run / "per_instance_stats.json").write_text(json.dumps(instances))
    return run


def imported(source: Path, into: Path, *more: str) -> list[BenchmarkRun]:
    assert main([str(source), "-o", str(into), *more]) == 0
    return BenchmarkFiles(into).read_runs().runs


def test_a_file_of_lighteval_becomes_a_row_with_the_mean_of_each_group(tmp_path: Path) -> None:
    (row,) = imported(lighteval(tmp_path / "le"), tmp_path / "results")
    assert (row.name, row.harness, row.adapter) == ("lighteval-openai-concise@4", "lighteval", None)
    assert row.metrics == {"gsm8k/em,none": 0.5, "mmlu/acc,none": 0.3}
    assert row.limits == {"gsm8k": 10, "mmlu": 10}
    assert row.num_fewshot == {"gsm8k": 8, "mmlu": 5}
    assert row.n_samples == {"mmlu": 20}
    assert row.task_versions == {"gsm8k": "0", "mmlu": "1"}
    assert row.datasets["mmlu"].path == "cais/mmlu/anatomy, cais/mmlu/virology"
    assert row.timestamp.startswith("2026-01-0")
    result = BenchmarkFiles(tmp_path / "results").read_summary(row.name).task_results[0]
    assert (result.primary_metric, result.all_metrics) == ("em", {"em": 0.5, "em_stderr": 0.1})


def test_the_runs_of_helm_of_one_model_become_one_row(tmp_path: Path) -> None:
    helm(tmp_path / "helm", "virology", 0.25)
    helm(tmp_path / "helm")
    (row,) = imported(tmp_path / "helm", tmp_path / "results")
    anatomy, virology = (f"mmlu:subject={subject},method=multiple_choice_joint" for subject in ("anatomy", "virology"))
    assert (row.name, row.harness, row.suite) == ("helm-claas-concise-4", "helm", "mine")
    assert row.metrics == {
        f"{anatomy}/exact_match,none": 0.5,
        f"{anatomy}/quasi_exact_match,none": 0.75,
        f"{virology}/exact_match,none": 0.25,
        f"{virology}/quasi_exact_match,none": 0.75,
    }
    assert (row.limits[anatomy], row.num_fewshot[anatomy], row.n_samples[anatomy]) == (None, 5, 4)
    assert row.datasets[anatomy].path == 'MMLUScenario {"subject": "anatomy"}'
    errors = BenchmarkFiles(tmp_path / "results").read_summary(row.name).task_results[0].all_metrics
    assert errors["exact_match_stderr"] == pytest.approx(0.288675)  # the deviation of 1, 1, 0, 0 over the root of 4


def test_imported_rows_stand_in_tables_of_their_own_with_their_intervals(tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(root, "base", {"gsm8k": HALF})
    imported(lighteval(tmp_path / "le"), root, "--base-model", "claas-tiny", "--fixture")
    cohort = read_cohort(root)
    assert sorted(table.asked.harness for table in cohort.tables) == ["lighteval", "lm-eval"]
    row = cohort.row("lighteval-openai-concise@4")
    assert row is not None
    assert (row.run.base_model, row.run.adapter, row.run.fixture) == ("claas-tiny", "openai/concise@4", True)
    cell = row.cells["gsm8k"]
    assert cell is not None
    assert (cell.difference, cell.why_not, cell.has_items) == (None, None, False)
    assert cell.interval is not None
    assert cell.interval.low == pytest.approx(0.5 - 1.959964 * 0.1, abs=1e-6)


def test_what_has_its_row_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = lighteval(tmp_path / "le")
    imported(source, tmp_path / "results")
    assert len(imported(source, tmp_path / "results")) == 1
    assert "lighteval-openai-concise@4: has its row already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"lm_eval_version": "0.4.13"}, "is lm-eval's own"),
        ({"results": {}}, "is not results of lighteval's: config_general: Field required"),
        ({**LIGHTEVAL, "results": {"gsm8k|8": {"em": None}}}, "has no number of gsm8k|8"),
        ({**LIGHTEVAL, "results": {"gsm8k|8": {"em": float("nan")}}}, "has no number of gsm8k|8"),
        ({**LIGHTEVAL, "results": {"all": {"em": 0.5}}}, "has no number of any task"),
        ({**LIGHTEVAL, "results": {"gsm8k|8": {"em": "\ud800"}}}, "is not results of lighteval's"),
    ],
)
def test_what_is_no_result_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, why: str
) -> None:
    assert main([str(lighteval(tmp_path / "le", content)), "-o", str(tmp_path / "results")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_half_a_file_and_an_empty_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lighteval(tmp_path / "le")
    path.write_text(path.read_text()[:50])
    (tmp_path / "empty").mkdir()
    for source, why in (
        (path, "is not results of lighteval's"),
        (tmp_path / "empty", "there is neither a results_*.json of lighteval's"),
    ):
        assert main([str(source), "-o", str(tmp_path / "results")]) == 2
        assert why in capsys.readouterr().err


def test_what_helm_did_not_count_is_none_and_no_number_of_the_row(tmp_path: Path) -> None:
    path = helm(tmp_path / "helm") / "stats.json"
    stats = [stat("exact_match", 0.5), stat("quasi_exact_match", float("inf")), stat("num_instances", float("nan"))]
    path.write_text(json.dumps(stats))
    (row,) = imported(tmp_path / "helm", tmp_path / "results")
    assert set(row.metrics.values()) == {0.5}
    assert row.n_samples == {}


@pytest.mark.parametrize("names", [5, "exact_match", [["exact_match"]]])
def test_names_of_metrics_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: object
) -> None:
    path = helm(tmp_path / "helm") / "run_spec.json"
    spec = json.loads(path.read_text())
    path.write_text(json.dumps({**spec, "metric_specs": [{"class_name": "m", "args": {"names": names}}]}))
    assert main([str(tmp_path / "helm"), "-o", str(tmp_path / "results")]) == 2
    assert "is not a run of HELM's: metric_specs.0.args.names" in capsys.readouterr().err


def test_a_name_that_only_looks_like_a_time_is_none(tmp_path: Path) -> None:
    path = lighteval(tmp_path / "le")
    (row,) = imported(path.rename(path.with_name("results_2026-13-41T25-61-61.5.json")), tmp_path / "results")
    assert not row.timestamp.startswith("2026-13")
