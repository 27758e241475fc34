"""What was measured as a table of checkpoints and measures, and the best of them by a rule."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from claas.bench.catalogue import SMOKE, Chosen, catalogue
from claas.bench.loss.measure import ModelLoss
from claas.bench.scan.settings import ScanConfig
from claas.core.errors import InvalidInput
from claas.results.benchmarks import BenchmarkFiles, EvalResult
from claas.results.pairing import ScoredRun, paired, read_scored_run
from claas.results.records import utc_now
from claas.results.scan import CheckpointScore, Scan, ScanMeasure, ScannedCheckpoint
from claas.results.selection import Selection, interval_of, select

LOSS, MEAN = "eval_loss", "mean"

_ROUNDING = 1e-6


@dataclass(frozen=True)
class MeasuredCheckpoint:
    """One checkpoint as it was found; `result` is None where no tasks, `loss` where no documents were asked for."""

    name: str
    step: int
    model: str
    base_model: str
    digest: str
    run: str
    result: EvalResult | None
    loss: ModelLoss | None


def require_rule(best: str | None, asked: Chosen | None, reads_text: bool) -> None:
    """Raise `InvalidInput` on a rule that can be known not to fit before anything is asked."""
    tasks = [entry.task for entry in asked.entries] if asked else []
    known = [*(_named(task) for task in tasks), *([MEAN] if tasks else []), *([LOSS] if reads_text else [])]
    if best is None or best in known or best in tasks:
        return
    task, _, metric = best.partition("/")
    if task not in tasks or (metric and catalogue().metric(task) is not None):
        raise InvalidInput(f"unknown rule best={best}; known: {', '.join(known)}")


def scan_of(
    config: ScanConfig, asked: Chosen | None, measured: Sequence[MeasuredCheckpoint]
) -> tuple[Scan, str | None]:
    """The record of a scan; without a selection, the reason why there is none."""
    columns = [*_task_columns(config, asked, measured), *([_loss_column(measured)] if config.reads_text else [])]
    selection, reason = _selected(config, columns, measured)
    scan = Scan(
        created=utc_now(),
        suite=asked and asked.suite,
        fixture=any(each.result.fixture for each in measured if each.result is not None),
        smoke=asked is not None and asked.suite == SMOKE,
        confidence=config.confidence,
        measures=[
            ScanMeasure(name=each.name, less_is_better=each.less_is_better, not_chosen_by=each.reason)
            for each in columns
        ],
        checkpoints=[_row(each, columns, config.confidence) for each in measured],
        selection=selection,
    )
    return scan, reason


@dataclass
class _Column:
    """One measure of all checkpoints that have it, by their names.

    `items` are the scores of the same items for each, whose mean is its value; empty where `reason` says why not.
    """

    name: str
    values: dict[str, float]
    failed: dict[str, str] = field(default_factory=dict[str, str])
    items: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    counts: dict[str, int | None] = field(default_factory=dict[str, "int | None"])
    less_is_better: bool = False
    reason: str | None = None


def _task_columns(config: ScanConfig, asked: Chosen | None, measured: Sequence[MeasuredCheckpoint]) -> list[_Column]:
    files = BenchmarkFiles(config.output_folder)
    complete = [each for each in measured if each.result is not None and not each.result.n_tasks_failed]
    runs = {each.name: read_scored_run(files.run(each.run)) for each in complete} if config.log_samples else {}
    return [_task_column(entry.task, measured, runs) for entry in (asked.entries if asked else ())]


def _task_column(task: str, measured: Sequence[MeasuredCheckpoint], runs: Mapping[str, ScoredRun]) -> _Column:
    found = {
        each.name: result
        for each in measured
        if each.result is not None
        for result in each.result.task_results
        if result.task == task
    }
    metric = next((result.primary_metric for result in found.values() if result.primary_metric), None)
    column = _Column(
        name=f"{task}/{metric}" if metric else _named(task),
        values={name: result.value for name, result in found.items() if result.value is not None},
        failed={name: result.error or "failed" for name, result in found.items() if result.value is None},
        counts={name: result.n_samples for name, result in found.items()},
    )
    first = next(iter(runs.values()), None)
    if first is None:
        column.reason = "there are no items of it on disk"
        return column
    column.less_is_better = metric in first.less_is_better
    try:
        column.items = {name: list(paired(first, run, [task])[task].after) for name, run in runs.items()}
    except InvalidInput as error:
        column.reason = str(error)
    if any(abs(fmean(items) - column.values[name]) > _ROUNDING for name, items in column.items.items()):
        column.items, column.reason = {}, f"{column.name} is not the mean of its items' scores"
    return column


def _loss_column(measured: Sequence[MeasuredCheckpoint]) -> _Column:
    """Nats that count for a document as if all had as many tokens, so that their mean is the loss."""
    column = _Column(LOSS, {}, less_is_better=True)
    lengths: dict[str, tuple[int | None, ...]] = {}
    for each in measured:
        if each.loss is None or each.loss.total.loss is None or each.loss.lost:
            column.failed[each.name] = "documents were lost" if each.loss else "it was not measured"
            continue
        documents = each.loss.documents
        lengths[each.name] = tuple(document.tokens for document in documents)
        share = len(documents) / sum(document.tokens or 0 for document in documents)
        column.values[each.name] = each.loss.total.loss
        column.counts[each.name] = len(documents)
        column.items[each.name] = [(document.nats or 0.0) * share for document in documents]
    if len(set(lengths.values())) > 1:
        column.items, column.reason = {}, "the checkpoints cut the text in different tokens"
    return column


def _selected(
    config: ScanConfig, columns: Sequence[_Column], measured: Sequence[MeasuredCheckpoint]
) -> tuple[Selection | None, str | None]:
    tasks = [column for column in columns if column.name != LOSS]
    rule = config.best or (MEAN if len(tasks) > 1 else columns[0].name)
    chosen = tasks if rule == MEAN else [each for each in columns if rule in (each.name, each.name.partition("/")[0])]
    if not chosen:
        return None, f"there is no {rule}: there are {', '.join(column.name for column in columns)}"
    if reasons := [f"{column.name}: {column.reason}" for column in chosen if column.reason is not None]:
        return None, f"none is the best by {rule}: {'; '.join(reasons)}"
    names = [each.name for each in measured if all(each.name in column.items for column in chosen)]
    if not names:
        return None, f"none is the best by {rule}: no checkpoint was measured by all of it"
    scores = {name: _weighted([column.items[name] for column in chosen]) for name in names}
    rule = MEAN if rule == MEAN else chosen[0].name
    return select(rule, scores, config.confidence, less_is_better=chosen[0].less_is_better), None


def _weighted(tasks: Sequence[Sequence[float]]) -> list[float]:
    """The items of several tasks, weighed so that their mean is the mean of the tasks' means."""
    total = sum(map(len, tasks))
    return [score * (total / (len(tasks) * len(items))) for items in tasks for score in items]


def _row(each: MeasuredCheckpoint, columns: Sequence[_Column], confidence: float) -> ScannedCheckpoint:
    scores: dict[str, CheckpointScore] = {}
    for column in columns:
        if each.name in column.values and math.isfinite(column.values[each.name]):
            items = column.items.get(each.name)
            most = math.inf if column.less_is_better else 1.0
            interval = None if items is None else interval_of(items, confidence, most)
            scores[column.name] = CheckpointScore(
                value=column.values[each.name],
                ci=interval and (interval.low, interval.high),
                n=column.counts.get(each.name),
            )
    return ScannedCheckpoint(
        name=each.name,
        step=each.step,
        model=each.model,
        base_model=each.base_model,
        digest=each.digest,
        run=each.run,
        scores=scores,
        failed={column.name: column.failed[each.name] for column in columns if each.name in column.failed},
    )


def _named(task: str) -> str:
    metric = catalogue().metric(task)
    return task if metric is None else f"{task}/{metric.partition(',')[0]}"
