"""From the dictionary that lm-eval returns to our records."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from claas.core.errors import InvalidInput
from claas.results.benchmarks import AnsweredBy, BenchmarkItem, EvalResult, TaskResult

Raw = Mapping[str, Any]
"""What `lm_eval.simple_evaluate` returns."""

OUTCOME = "outcome"
"""Of a task that runs programs, the metric that is no number: what became of an item's program."""

_HINTS = ("prompt_level_strict_acc", "exact_match", "pass@1", "acc", "f1", "rouge1", "bleu", "word_perplexity")
"""The metric that is reported first of a task that the catalogue does not list: the first of these that it has."""


def task_result(raw: Raw, task: str, reported: str, primary: str | None) -> TaskResult:
    """The numbers of a task or group that lm-eval reports as `reported`; `primary` is a metric with its filter.

    `InvalidInput` where there is no such number.
    """
    found = cast(Mapping[str, Any], raw["results"].get(reported, {}))
    numbers = {key: float(value) for key, value in found.items() if "," in key and _is_number(value)}
    primary = primary if primary in numbers else first_metric(numbers)
    if primary is None:
        raise InvalidInput(f"lm-eval reports no number of {task}; name the tasks inside it one by one")
    metric, _, chosen = primary.partition(",")
    return TaskResult(
        task=task,
        primary_metric=metric,
        value=numbers[primary],
        n_samples=_n_samples(raw, reported),
        all_metrics={_without_filter(key, chosen): value for key, value in numbers.items()},
    )


def first_metric(keys: Iterable[str]) -> str | None:
    """The metric, with its filter, that is reported first of a task that is not listed; None of nothing."""
    metrics = [key for key in keys if "_stderr," not in key]
    hinted = [key for hint in _HINTS for key in metrics if key.partition(",")[0] == hint]
    return next(iter([*hinted, *metrics]), None)


def failed(task: str, error: str, primary: str | None) -> TaskResult:
    """A task without a number."""
    metric = None if primary is None else primary.partition(",")[0]
    return TaskResult(task=task, primary_metric=metric, value=None, n_samples=None, all_metrics={}, error=error)


def eval_result(
    model_name: str, results: Sequence[TaskResult], *, seconds: float, backend: str, fixture: bool = False
) -> EvalResult:
    """All tasks of one model."""
    n_failed = sum(result.value is None for result in results)
    return EvalResult(
        model_name=model_name,
        tasks=[result.task for result in results],
        task_results=list(results),
        n_tasks_completed=len(results) - n_failed,
        n_tasks_failed=n_failed,
        duration_seconds=seconds,
        backend=backend,
        fixture=fixture,
    )


def flat_metrics(raw: Raw, reported: str) -> dict[str, float]:
    """lm-eval's numbers under its own names (`acc,none`), without standard errors."""
    found = cast(Mapping[str, Any], raw["results"][reported])
    return {
        key: float(value)
        for key, value in sorted(found.items())
        if "," in key and "_stderr," not in key and _is_number(value)
    }


def num_fewshot(raw: Raw) -> int:
    """Worked examples before each question, the most where the tasks of a group differ."""
    return max((int(shots) for shots in raw["n-shot"].values() if shots is not None), default=0)


def rows(raw: Raw) -> int:
    """How many items there are to ask, before any limit."""
    return sum(count["original"] for count in raw["n-samples"].values())


def version(raw: Raw) -> str:
    """lm-eval's version of the task, or of the tasks inside a group: a run with another one is no comparison."""
    return ", ".join(sorted({str(raw["versions"].get(task)) for task in raw["samples"]}))


def items(raw: Raw, answered_by: AnsweredBy) -> list[BenchmarkItem]:
    """Every item of every task, once for each filter."""
    return [_item(task, row, answered_by) for task, rows in raw["samples"].items() for row in rows]


def merged(earlier: Mapping[str, Any], raw: Raw) -> dict[str, Any]:
    """What lm-eval said of several tasks as if it had been asked at once, without the items."""
    new = cast(dict[str, Any], json.loads(json.dumps({key: raw[key] for key in raw if key != "samples"}, default=str)))
    both = {key: {**earlier[key], **new[key]} for key in new if _is_mapping(new[key]) and _is_mapping(earlier.get(key))}
    return {**earlier, **new, **both}


def _item(task: str, row: Mapping[str, Any], answered_by: AnsweredBy) -> BenchmarkItem:
    plain = json.loads(json.dumps(dict(row), default=_plain))
    scores = {metric: plain[metric] for metric in plain["metrics"] if metric in plain}
    return BenchmarkItem(
        task=task,
        filter=plain["filter"],
        doc_id=plain["doc_id"],
        doc_hash=plain["doc_hash"],
        prompt_hash=plain["prompt_hash"],
        target_hash=plain["target_hash"],
        target=str(plain["target"]),
        arguments=plain["arguments"],
        resps=plain["resps"],
        filtered_resps=plain["filtered_resps"],
        scores={metric: score for metric, score in scores.items() if _is_score(score)},
        weights=answered_by,
        outcome=plain.get(OUTCOME),
    )


def _plain(value: Any) -> Any:
    """A number of numpy's as one of Python's, anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)


def _is_score(score: object) -> bool:
    if isinstance(score, list):
        return all(map(_is_score, cast(list[object], score)))
    return isinstance(score, int | float) and math.isfinite(score)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _without_filter(key: str, chosen: str) -> str:
    """`acc,none` is `acc`, and so is the number of the filter that is reported first."""
    metric, _, used = key.partition(",")
    return metric if used in ("none", chosen) else key


def _n_samples(raw: Raw, reported: str) -> int | None:
    """Items asked; of a group, those of every task that was asked with it."""
    counts = cast(Mapping[str, Mapping[str, int]], raw.get("n-samples", {}))
    if reported in counts:
        return counts[reported]["effective"]
    return sum(count["effective"] for count in counts.values()) or None
