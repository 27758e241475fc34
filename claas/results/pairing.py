"""Two benchmark runs as pairs of scores, one pair an item; refused wherever they were not asked the same."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from claas.core.checks import first_problem
from claas.core.errors import InvalidInput
from claas.core.files import open_file, read_text
from claas.results.benchmarks import BenchmarkFiles, BenchmarkRun, ItemKey, ScoredItem
from claas.results.decision import PairedScores


class _Directions(BaseModel):
    """What lm-eval says of its metrics, by task."""

    higher_is_better: dict[str, dict[str, bool | None]] = Field(default_factory=dict[str, dict[str, bool | None]])


@dataclass(frozen=True)
class ScoredRun:
    """A run, and the items behind the primary metric of each of its tasks; of some metrics less is better."""

    run: BenchmarkRun
    metrics: Mapping[str, str]
    items: Mapping[str, Mapping[ItemKey, ScoredItem]]
    less_is_better: Collection[str] = ()


def read_scored_run(folder: Path) -> ScoredRun:
    """The run whose details are in `folder`, and whose row is in the `metrics.json` beside it.

    `InvalidInput` where there is none, or where the items are not those of the row.
    """
    folder = folder.expanduser().resolve()
    files, name = BenchmarkFiles(folder.parent), folder.name
    runs = [run for run in files.read_runs().runs if run.name == name]
    if not runs:
        raise InvalidInput(
            f"{files.metrics} has no run {name!r}: give the folder of a completed run, such as results/<name>, or "
            "complete it with: python -m claas.bench resume=true"
        )
    results = {result.task: result for result in files.read_summary(name).task_results}
    metrics: dict[str, str] = {}
    items: dict[str, dict[ItemKey, ScoredItem]] = {}
    for task in runs[-1].limits:
        result = results.get(task)
        if result is None or result.primary_metric is None:
            raise InvalidInput(
                f"{files.summary(name)} has no result of {task}, which {files.metrics} has: run it again"
            )
        metrics[task] = result.primary_metric
        found = scored_items(files.samples(name, task), task, metrics[task], result.all_metrics, runs[-1])
        items[task] = {item.key: item for item, _ in found}
    return ScoredRun(runs[-1], metrics, items, less_is_better(files.raw(name)))


def paired(baseline: ScoredRun, candidate: ScoredRun, tasks: Collection[str] = ()) -> dict[str, PairedScores]:
    """The scores of both by task; only those of `tasks`, where any are named.

    A group's items are pooled, so that each weighs the same. `InvalidInput` names what was not asked the same.
    """
    chosen = _chosen(baseline, candidate, tasks)
    _require_same_settings(baseline.run, candidate.run, chosen)
    return {task: _pairs(task, baseline, candidate) for task in chosen}


def less_is_better(path: Path) -> set[str]:
    """The metrics of which less is better, by what lm-eval said of a run; none where that was not kept."""
    if not path.exists():
        return set()
    try:
        told = _Directions.model_validate_json(read_text(path))
    except ValidationError:
        raise InvalidInput(f"{path} is damaged; put back a copy, or run the tasks again") from None
    return {metric for metrics in told.higher_is_better.values() for metric, more in metrics.items() if more is False}


Place = tuple[int, int]
"""Where a line is in its file: its first byte, and how many it has."""


def scored_items(
    path: Path, task: str, metric: str, all_metrics: Collection[str], run: BenchmarkRun
) -> list[tuple[ScoredItem, Place]]:
    """The items that a task's primary metric is made of, and where they are in the file.

    Some tasks have each item once for every filter: a number of another filter is among `all_metrics` with that in its
    name. `InvalidInput` where the items are missing, damaged, or not those of `run`.
    """
    if not path.exists():
        raise InvalidInput(f"{path} is missing: run {run.name} again with log_samples=true, which is the default")
    items: dict[ItemKey, tuple[ScoredItem, Place]] = {}
    for number, (item, place) in enumerate(_items_by_line(path), start=1):
        if f"{metric},{item.filter}" in all_metrics:
            continue
        if metric not in item.scores:
            raise _damaged(path, number, f"no score {metric!r}")
        if item.weights.digest != run.digest:
            raise InvalidInput(
                f"{path} holds answers of other weights ({item.weights.name}) than the run in metrics.json; "
                f"run {run.name} again"
            )
        if item.key in items:
            raise _damaged(path, number, f"item {item.doc_id} of {item.task} is there twice")
        items[item.key] = item, place
    if not items:
        raise InvalidInput(f"{path} has no item with the filter of {metric}; run {run.name} again")
    if len(items) != run.n_samples.get(task, len(items)):
        raise InvalidInput(f"{path} has {len(items)} of {run.n_samples[task]} items; run {run.name} again")
    return list(items.values())


def _items_by_line(path: Path) -> Iterator[tuple[ScoredItem, Place]]:
    start = 0
    try:
        with open_file(path) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    item = ScoredItem.model_validate_json(line)
                except ValidationError as error:
                    raise _damaged(path, number, first_problem(error)) from None
                yield item, (start, len(line))
                start += len(line)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error


def _damaged(path: Path, line: int, what: str) -> InvalidInput:
    return InvalidInput(f"{path} is damaged at line {line} ({what}); put back a copy, or run the task again")


def _chosen(baseline: ScoredRun, candidate: ScoredRun, tasks: Collection[str]) -> list[str]:
    shared = [task for task in baseline.items if task in candidate.items]
    if unknown := [task for task in tasks if task not in shared]:
        raise InvalidInput(f"tasks: {', '.join(unknown)} not in both runs; both have: {', '.join(shared) or 'none'}")
    alone = sorted(baseline.items.keys() ^ candidate.items.keys())
    if alone and not tasks:
        both = f"tasks=[{','.join(shared)}]" if shared else "the same suite for both"
        raise InvalidInput(f"only one of the two runs has {', '.join(alone)}: run it for both, or compare {both}")
    return [task for task in shared if not tasks or task in tasks]


def _require_same_settings(baseline: BenchmarkRun, candidate: BenchmarkRun, tasks: Collection[str]) -> None:
    """What decides how a question is asked and scored; of the data, its content where that is known."""
    for what, one, other in (
        ("harness", baseline.harness, candidate.harness),
        ("backend", baseline.backend, candidate.backend),
        ("lm_eval_version", baseline.lm_eval_version, candidate.lm_eval_version),
        ("apply_chat_template", baseline.apply_chat_template, candidate.apply_chat_template),
        ("settings", baseline.settings, candidate.settings),
        *(
            (f"{name} of {task}", getattr(baseline, name)[task], getattr(candidate, name)[task])
            for task in tasks
            for name in ("limits", "num_fewshot", "task_versions")
        ),
        *((f"datasets of {task}", *(run.datasets[task].content() for run in (baseline, candidate))) for task in tasks),
    ):
        if one != other:
            here, there = (f"{json.dumps(each)} in {run.name}" for each, run in ((one, baseline), (other, candidate)))
            raise InvalidInput(f"not comparable: {what} is {here} and {there}; run one of them again as the other was")


def _pairs(task: str, baseline: ScoredRun, candidate: ScoredRun) -> PairedScores:
    before, after = baseline.items[task], candidate.items[task]
    metric, other = baseline.metrics[task], candidate.metrics[task]
    if metric != other:
        raise InvalidInput(
            f"not comparable: {task} is scored by {metric} in {baseline.run.name} and by {other} in "
            f"{candidate.run.name}; run one of them again"
        )
    if alone := before.keys() ^ after.keys():
        raise InvalidInput(
            f"not comparable: {len(alone)} items of {task} are in one run only; run both with the same limit and data"
        )
    for key, item in before.items():
        _require_same_question(item, after[key])
    if metric in baseline.less_is_better:
        raise InvalidInput(f"{task}: of {metric} less is better, which is not judged; leave it out with tasks=[...]")
    scores = [(item.score(metric), after[key].score(metric)) for key, item in before.items()]
    if any(not 0 <= score <= 1 for pair in scores for score in pair):
        raise InvalidInput(
            f"{task}: {metric} is not between 0 and 1, so that no margin fits it; leave the task out with tasks=[...]"
        )
    return PairedScores([old for old, _ in scores], [new for _, new in scores])


def _require_same_question(item: ScoredItem, other: ScoredItem) -> None:
    where = f"item {item.doc_id} of {item.task}"
    if (item.doc_hash, item.target_hash) != (other.doc_hash, other.target_hash):
        raise InvalidInput(f"not comparable: {where} is another row of data; run both on the same data")
    if item.prompt_hash != other.prompt_hash:
        raise InvalidInput(
            f"not comparable: {where} was asked in other words; run both with the same examples, chat template and "
            "system prompt"
        )
