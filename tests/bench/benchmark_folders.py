"""Folders of benchmark results as `claas.bench` writes them, of made-up answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from claas.results.benchmarks import (
    AnsweredBy,
    BenchmarkFiles,
    BenchmarkItem,
    BenchmarkRun,
    EvalResult,
    TaskData,
    TaskResult,
)

Scores = Mapping[str, Sequence[float | list[float]]]


def item(task: str, doc_id: int, score: float | list[float], digest: str, **changes: object) -> BenchmarkItem:
    """One item, scored by `acc`."""
    fields: dict[str, object] = {
        "task": task,
        "filter": "none",
        "doc_id": doc_id,
        "doc_hash": f"doc{doc_id}",
        "prompt_hash": f"prompt{doc_id}",
        "target_hash": "target",
        "target": "0",
        "arguments": [["question", " answer"]],
        "resps": [[-1.0, False]],
        "filtered_resps": [-1.0, False],
        "scores": {"acc": score},
        "weights": AnsweredBy(name="model", digest=digest),
    }
    return BenchmarkItem.model_validate(fields | changes)


def row(name: str, tasks: Scores, **changes: object) -> BenchmarkRun:
    """The run's row."""
    fields: dict[str, object] = {
        "name": name,
        "method": "sdpo",
        "timestamp": "2026-01-01T00:00:00Z",
        "base_model": "claas-tiny",
        "adapter": f"{name}@1",
        "digest": f"digest-{name}",
        "tokenizer": "claas-tiny",
        "backend": "wire",
        "suite": "standard",
        "smoke": False,
        "apply_chat_template": True,
        "lm_eval_version": "0.4.13",
        "limits": dict.fromkeys(tasks),
        "num_fewshot": dict.fromkeys(tasks, 5),
        "n_samples": {task: len(scores) for task, scores in tasks.items()},
        "task_versions": dict.fromkeys(tasks, "1"),
        "datasets": {task: TaskData(path=f"owner/{task}") for task in tasks},
        "fingerprint": "fingerprint",
        "metrics": {},
    }
    return BenchmarkRun.model_validate(fields | changes)


def summary(name: str, tasks: Scores) -> EvalResult:
    """The run's summary."""
    means = {
        task: fmean(fmean(each) if isinstance(each, list) else each for each in scores) if scores else 0.5
        for task, scores in tasks.items()
    }
    results = [
        TaskResult(task=task, primary_metric="acc", value=mean, n_samples=len(tasks[task]), all_metrics={"acc": mean})
        for task, mean in means.items()
    ]
    return EvalResult(
        model_name=name,
        tasks=list(tasks),
        task_results=results,
        n_tasks_completed=len(results),
        n_tasks_failed=0,
        duration_seconds=1.0,
        backend="wire",
    )


def write_run(root: Path, name: str, tasks: Scores, **changes: object) -> Path:
    """Write a completed run whose items have these scores; its folder. `changes` are fields of its row."""
    files, run = BenchmarkFiles(root), row(name, tasks, **changes)
    files.promote(run)
    files.write_summary(name, summary(name, tasks))
    for task, scores in tasks.items():
        files.write_samples(name, task, [item(task, place, score, run.digest) for place, score in enumerate(scores)])
    return files.run(name)
