"""Benchmark runs for others: one file of every_eval_ever's for each, which says what a number is, and CSV."""

import json
from pathlib import Path
from typing import Any

import pytest

from claas.bench.export import main
from claas.results.benchmarks import TaskData, hub_id
from tests.dashboard.test_cohort import HALF, WORSE, write


def exported(root: Path, into: Path, *more: str) -> dict[str, dict[str, Any]]:
    """What each file holds, by its folder."""
    assert main([str(root), "-o", str(into), *more]) == 0
    found = {path.parent.relative_to(into).as_posix(): json.loads(path.read_text()) for path in into.rglob("*.json")}
    assert len(found) == len(list(into.rglob("*.json")))
    return found


def test_every_run_is_a_file_with_what_the_schema_requires(tmp_path: Path) -> None:
    write(tmp_path / "results", "base", {"mmlu": HALF})
    write(tmp_path / "results", "sft", {"mmlu": WORSE}, when=2)
    found = exported(tmp_path / "results", tmp_path / "out", "--organization", "Us")
    assert sorted(found) == ["data/standard/claas/claas-tiny", "data/standard/claas/sft@1"]
    log = found["data/standard/claas/sft@1"]
    assert log["schema_version"] == "0.2.1"
    assert log["evaluation_id"] == "standard/claas/sft@1/1767312000"
    assert log["source_metadata"] == {
        "source_name": "CLaaS benchmark runs",
        "source_type": "evaluation_run",
        "source_organization_name": "Us",
        "evaluator_relationship": "other",
    }
    assert log["eval_library"] == {"name": "lm_eval", "version": "0.4.13"}
    assert (log["model_info"]["id"], log["model_info"]["developer"]) == ("claas/sft@1", "claas")
    details = log["model_info"]["additional_details"]
    assert (details["base_model"], details["digest"], details["deployment_type"]) == (
        *("claas-tiny", "digest-sft", "self_deployed"),
    )
    (result,) = log["evaluation_results"]
    assert result["evaluation_name"] == "mmlu"
    assert result["source_data"]["hf_repo"] == "owner/mmlu"
    assert result["metric_config"] == {
        "evaluation_description": "acc,none",
        "lower_is_better": False,
        "score_type": "continuous",
        "min_score": 0.0,
        "max_score": 1.0,
    }
    assert result["score_details"]["score"] == 0.2
    uncertainty = result["score_details"]["uncertainty"]
    assert uncertainty["num_samples"] == 100
    assert uncertainty["confidence_interval"] == {
        "lower": pytest.approx(0.1334, abs=1e-4),
        "upper": pytest.approx(0.2888, abs=1e-4),
        "confidence_level": 0.95,
    }
    assert result["generation_config"]["additional_details"]["num_fewshot"] == "5"


def test_a_run_that_is_exported_again_is_the_same_file(tmp_path: Path) -> None:
    write(tmp_path / "results", "base", {"mmlu": HALF})
    exported(tmp_path / "results", tmp_path / "out")
    assert len(exported(tmp_path / "results", tmp_path / "out")) == 1


def test_rows_of_our_own_are_not_said_to_be_the_data_set(tmp_path: Path) -> None:
    own = {"mmlu": TaskData(path="owner/mmlu", fixture=True)}
    write(tmp_path / "results", "base", {"mmlu": HALF}, datasets=own)
    (log,) = exported(tmp_path / "results", tmp_path / "out").values()
    source = log["evaluation_results"][0]["source_data"]
    assert source["source_type"] == "other"
    assert source["additional_details"] == {"path": "owner/mmlu", "fixture": "true"}


def test_a_score_without_bounds_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"mmlu/acc,none": 0.5, "mmlu/word_perplexity,none": 80.0, "mmlu/exact_match,strict-match": 0.25}
    write(tmp_path / "results", "base", {"mmlu": HALF}, metrics=metrics)
    (log,) = exported(tmp_path / "results", tmp_path / "out").values()
    assert [result["evaluation_name"] for result in log["evaluation_results"]] == ["mmlu", "mmlu/strict-match"]
    assert "base: without mmlu/word_perplexity,none: schema 0.2.1 wants a score's bounds" in capsys.readouterr().err


def test_the_csv_is_that_of_the_page(tmp_path: Path) -> None:
    write(tmp_path / "results", "base", {"mmlu": HALF})
    assert main([str(tmp_path / "results"), "-o", str(tmp_path / "out"), "--format", "csv"]) == 0
    assert (tmp_path / "out" / "cohort.csv").read_text().splitlines()[1].startswith("1,base,claas-tiny,")


def test_nothing_to_export_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "no completed run is in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "owned"),
    [
        ("eval-concise@4", "claas/eval-concise@4"),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ("/data/models/mine", "claas/mine"),
        ("./mine", "claas/mine"),
        ("models/of/mine", "claas/mine"),
    ],
)
def test_a_model_has_an_owner(model: str, owned: str) -> None:
    assert hub_id(model) == owned
