"""metrics.json: whole at any moment, and every run in it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import InvalidInput
from claas.results.benchmarks import BenchmarkFiles, BenchmarkRun, CompletedTask, PartialRun, TaskData, TaskResult


def row(name: str, **changed: Any) -> BenchmarkRun:
    values: dict[str, Any] = {
        **{"name": name, "method": "sdpo", "timestamp": "2026-01-01T00:00:00.000+00:00", "base_model": "claas-tiny"},
        **{"adapter": None, "digest": "abc", "tokenizer": "claas-tiny", "backend": "wire", "suite": "smoke"},
        **{"smoke": True, "apply_chat_template": True, "lm_eval_version": "0.4.13", "limits": {"gsm8k": None}},
        **{"num_fewshot": {"gsm8k": 8}, "n_samples": {"gsm8k": 4}, "task_versions": {"gsm8k": "3.0"}},
        **{"datasets": {"gsm8k": TaskData(path="openai/gsm8k")}, "fingerprint": "f"},
        "metrics": {"gsm8k/exact_match,strict-match": 0.5},
    }
    return BenchmarkRun(**values | changed)


def test_runs_are_appended_in_order_and_read_back(tmp_path: Path) -> None:
    files = BenchmarkFiles(tmp_path / "results")
    assert files.read_runs().runs == []
    for name in ("base", "phase1"):
        files.promote(row(name))
    written = json.loads(files.metrics.read_text())
    assert written["schema_version"] == 1
    assert [run["name"] for run in written["runs"]] == ["base", "phase1"]
    assert files.read_runs().runs == [row("base"), row("phase1")]


def test_a_partial_is_removed_when_its_row_is_written_and_not_before(tmp_path: Path) -> None:
    files = BenchmarkFiles(tmp_path)
    result = TaskResult(task="gsm8k", primary_metric="acc", value=1.0, n_samples=4, all_metrics={"acc": 1.0})
    data = TaskData(path="openai/gsm8k", sha256="00", fixture=True)
    done = CompletedTask(
        fingerprint="f", result=result, metrics={}, num_fewshot=8, limit=None, version="3.0", data=data, seconds=1.0
    )
    files.write_partial("base", PartialRun(completed={"gsm8k": done}))
    assert files.read_partial("base").completed == {"gsm8k": done}
    assert not files.metrics.exists()
    files.promote(row("base"))
    assert not files.partial("base").exists()
    assert files.read_partial("base") == PartialRun()


def test_writers_at_the_same_time_lose_no_row(tmp_path: Path) -> None:
    names = [f"run-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda name: BenchmarkFiles(tmp_path).promote(row(name)), names))
    assert sorted(run.name for run in BenchmarkFiles(tmp_path).read_runs().runs) == sorted(names)


@pytest.mark.parametrize(
    "content", ["", '{"schema_version": 1, "runs": [{"na', "[]", '{"runs": [{"name": 1}]}', "[" * 9999, "1" * 5000]
)
def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    files = BenchmarkFiles(tmp_path)
    files.metrics.write_text(content)
    with pytest.raises(InvalidInput, match=r"metrics\.json cannot be read.*put back a copy, or move it away"):
        files.promote(row("base"))
    assert files.metrics.read_text() == content


@pytest.mark.parametrize("more", ["", ', "of": "later"'])
def test_a_file_of_a_later_schema_is_not_taken_for_ours_nor_overwritten(tmp_path: Path, more: str) -> None:
    files, content = BenchmarkFiles(tmp_path), f'{{"schema_version": 2, "runs": []{more}}}'
    files.metrics.write_text(content)
    with pytest.raises(InvalidInput, match="is of schema 2, this version reads up to 1"):
        files.promote(row("base"))
    assert files.metrics.read_text() == content


@pytest.mark.parametrize("changed", [{"num_fewshot": {}}, {"datasets": {}}, {"timestamp": "yesterday"}])
def test_a_row_that_does_not_say_all_of_its_tasks_is_none(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not of the same tasks|isoformat"):
        row("base", **changed)


def test_rows_of_our_own_are_told_from_a_benchmarks(tmp_path: Path) -> None:
    assert not row("base").fixture
    assert row("base", datasets={"gsm8k": TaskData(path="openai/gsm8k", fixture=True)}).fixture


def test_no_number_is_written_that_is_none() -> None:
    with pytest.raises(ValueError, match="finite number"):
        row("base", metrics={"gsm8k/acc,none": float("nan")})
