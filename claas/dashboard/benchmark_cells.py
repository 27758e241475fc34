"""One task of one benchmark run: its number, and its difference to the base model's over the same items.

Items have kilobytes of prompts each. So an index keeps what a pair needs of them, and the place of each line; it is
made anew where the file has changed.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import ValidationError

from claas.core.checks import first_problem
from claas.core.errors import BadRequest, ClaasError, InvalidInput
from claas.core.files import dump_json, open_file
from claas.results.benchmarks import (
    AnsweredBy,
    BenchmarkFiles,
    BenchmarkItem,
    BenchmarkRun,
    ItemKey,
    ScoredItem,
    TaskResult,
)
from claas.results.decision import PairedDifference, difference
from claas.results.means import mean_interval
from claas.results.pairing import Place, ScoredRun, less_is_better, paired, scored_items
from claas.results.points import Stamp, read_cached, write_cached
from claas.results.records import Record
from claas.results.run_index import FOLDER, is_below, run_folder
from claas.results.statistics import Interval, normal_quantile, wilson

CONFIDENCE = 0.95

_VERSION = 1
_ROUNDING = 1e-9


class Cell(Record):
    """One task of one run. `metric` is the harness's name with its filter, `n` the items behind the value, if known.

    `why_not` says why there is no difference to the base model where there is one to compare with.
    """

    metric: str
    value: float
    n: int | None
    interval: Interval | None
    less_is_better: bool
    has_items: bool
    difference: PairedDifference | None = None
    why_not: str | None = None


class ItemIndex(Record):
    """The items behind a task's primary metric, answered by the weights `digest`: one element of each list an item.

    `hashes` are of the row of data, the prompt and the target; `places` say where the whole items are.
    """

    version: int = _VERSION
    stamp: Stamp
    digest: str
    metric: str
    keys: list[ItemKey]
    hashes: list[tuple[str, str, str]]
    scores: list[float]
    places: list[Place]

    def is_of(self, stamp: Stamp, digest: str, metric: str) -> bool:
        """Whether it is what would be made now."""
        return (self.version, self.stamp, self.digest, self.metric) == (_VERSION, stamp, digest, metric)

    def items(self) -> dict[ItemKey, ScoredItem]:
        """What a pair needs of them."""
        weights = AnsweredBy(name="", digest=self.digest)
        return {
            (task, used, doc_id): ScoredItem(
                task=task,
                filter=used,
                doc_id=doc_id,
                doc_hash=doc,
                prompt_hash=prompt,
                target_hash=target,
                scores={self.metric: score},
                weights=weights,
            )
            for (task, used, doc_id), (doc, prompt, target), score in zip(
                self.keys, self.hashes, self.scores, strict=True
            )
        }


class BenchmarkItems:
    """What is on disk of `runs`, the oldest first. Of several with one name only the newest has its items there."""

    def __init__(self, files: BenchmarkFiles, runs: Sequence[BenchmarkRun]) -> None:
        self.files = files
        self._newest = {run.name: run for run in runs}
        self._results: dict[str, dict[str, TaskResult]] = {}
        self._less_is_better: dict[str, set[str]] = {}
        self._base: tuple[tuple[str, str], ScoredRun] | None = None

    def number(self, run: BenchmarkRun, task: str) -> Cell | None:
        """The task's number alone, without a look at its items; None where the row has none."""
        metric = self._metric(run, task)
        if metric is None:
            return None
        return Cell(
            metric=metric,
            value=run.metrics[f"{task}/{metric}"],
            n=run.n_samples.get(task),
            interval=self._by_standard_error(run, task),
            less_is_better=metric.partition(",")[0] in self._less(run.name),
            has_items=False,
        )

    def cell(self, run: BenchmarkRun, task: str, base: BenchmarkRun | None) -> Cell | None:
        """The task's number with its difference to that of `base`, item by item; None where the row has no number."""
        cell = self.number(run, task)
        if cell is None:
            return None
        try:
            index = self.index(run, task)
            cell = cell.model_copy(update={"has_items": True})
            if abs(fmean(index.scores) - cell.value) > _ROUNDING:
                raise InvalidInput(
                    f"{cell.metric} is not the mean of the items of {task}, so that these are not paired"
                )
            cell = cell.model_copy(update={"interval": _interval(index.scores)})
            change = None if base is None else self._difference(run, task, index, base)
            return cell.model_copy(update={"difference": change})
        except ClaasError as error:
            return cell.model_copy(update={"why_not": None if base is None else str(error)})

    def index(self, run: BenchmarkRun, task: str) -> ItemIndex:
        """The items of a task; a `ClaasError` says why there are none."""
        result = self._result(run, task)
        if result is None or result.primary_metric is None:
            raise InvalidInput(self._why_not_on_disk(run))
        folder, path = run_folder(self.files.root, run.name), self.files.samples(run.name, task)
        if not is_below(folder, path):
            raise BadRequest(f"the items of {task} are not in the folder of the run {run.name}")
        stamp = _stamp(path)
        if stamp is None:
            raise InvalidInput(f"no items are on record: {path.name} is missing (log_samples=false, or removed since)")
        place = folder / FOLDER / f"{path.name}.index.json"
        known = read_cached(place, ItemIndex)
        if known is not None and known.is_of(stamp, run.digest, result.primary_metric):
            return known
        found = scored_items(path, task, result.primary_metric, result.all_metrics, run)
        index = ItemIndex(
            stamp=stamp,
            digest=run.digest,
            metric=result.primary_metric,
            keys=[item.key for item, _ in found],
            hashes=[(item.doc_hash, item.prompt_hash, item.target_hash) for item, _ in found],
            scores=[item.score(result.primary_metric) for item, _ in found],
            places=[where for _, where in found],
        )
        write_cached(place, index)
        return index

    def read(self, run: BenchmarkRun, task: str, places: Iterable[Place]) -> list[BenchmarkItem]:
        """Some items whole, by where `index` found them."""
        path = self.files.samples(run.name, task)
        lines: list[bytes] = []
        try:
            with open_file(path) as file:
                for start, length in places:
                    file.seek(start)
                    lines.append(file.read(length))
            return [BenchmarkItem.model_validate_json(line) for line in lines]
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read any more: {error.strerror or error}") from error
        except ValidationError as error:
            raise InvalidInput(
                f"{path} is damaged ({first_problem(error)}), or was changed: load the page again"
            ) from None

    def mark(self, run: BenchmarkRun, task: str, base: BenchmarkRun | None) -> str:
        """Changes with the row of the run or of its base, or a file behind them."""
        parts = [
            [each.model_dump(), self._is_on_disk(each), *self._stamps(each.name, task)] for each in (run, base) if each
        ]
        return hashlib.sha256(dump_json([_VERSION, task, *parts]).encode()).hexdigest()

    def _difference(self, run: BenchmarkRun, task: str, index: ItemIndex, base: BenchmarkRun) -> PairedDifference:
        if self._base is None or self._base[0] != (base.name, task):
            self._base = (base.name, task), _scored(base, task, self.index(base, task))
        if index.metric in self._less(run.name):
            raise InvalidInput(f"of {index.metric} less is better, and it is not a share: no paired test is made")
        return difference(paired(self._base[1], _scored(run, task, index), [task])[task], CONFIDENCE)

    def _metric(self, run: BenchmarkRun, task: str) -> str | None:
        """The number that is reported first, in every row of a name the same."""
        keys = [key.removeprefix(f"{task}/") for key in run.metrics if key.startswith(f"{task}/")]
        newest = self._newest[run.name]
        result = self._results_of(run.name).get(task)
        primary = [key for key in keys if result and key.partition(",")[0] == result.primary_metric]
        exact = [key for key in primary if result and newest.metrics.get(f"{task}/{key}") == result.value]
        return next(iter([*exact, *primary, *keys]), None)

    def _by_standard_error(self, run: BenchmarkRun, task: str) -> Interval | None:
        result = self._result(run, task)
        error = result.all_metrics.get(f"{result.primary_metric}_stderr") if result else None
        if result is None or result.value is None or not error:
            return None
        half = normal_quantile((1 + CONFIDENCE) / 2) * error
        return Interval(result.value - half, result.value + half)

    def _result(self, run: BenchmarkRun, task: str) -> TaskResult | None:
        return self._results_of(run.name).get(task) if self._is_on_disk(run) else None

    def _results_of(self, name: str) -> dict[str, TaskResult]:
        if name not in self._results:
            try:
                run_folder(self.files.root, name)
                results = self.files.read_summary(name).task_results
            except ClaasError:
                results = []
            self._results[name] = {result.task: result for result in results}
        return self._results[name]

    def _less(self, name: str) -> set[str]:
        if name not in self._less_is_better:
            try:
                run_folder(self.files.root, name)
                self._less_is_better[name] = less_is_better(self.files.raw(name))
            except ClaasError:
                self._less_is_better[name] = set()
        return self._less_is_better[name]

    def _is_on_disk(self, run: BenchmarkRun) -> bool:
        """Whether the folder of its name holds this run, or the very same once more."""
        newest = self._newest[run.name]
        return (newest.digest, newest.fingerprint) == (run.digest, run.fingerprint)

    def _why_not_on_disk(self, run: BenchmarkRun) -> str:
        if self._is_on_disk(run):
            return f"no items are on record: {self.files.summary(run.name).name} of {run.name} cannot be read"
        later = self._newest[run.name].timestamp[:16].replace("T", " ")
        return f"its items were replaced by those of the run with the same name at {later}"

    def _stamps(self, name: str, task: str) -> list[object]:
        paths = self.files.samples(name, task), self.files.summary(name), self.files.raw(name)
        return [stamp and stamp.model_dump() for stamp in map(_stamp, paths)]


def _scored(run: BenchmarkRun, task: str, index: ItemIndex) -> ScoredRun:
    return ScoredRun(run, {task: index.metric}, {task: index.items()})


def _interval(scores: Sequence[float]) -> Interval | None:
    if all(score in (0, 1) for score in scores):
        return wilson(sum(scores), len(scores), CONFIDENCE)
    interval = mean_interval(scores, CONFIDENCE)
    if interval is None or not all(0 <= score <= 1 for score in scores):
        return interval
    return Interval(max(0.0, interval.low), min(1.0, interval.high))


def _stamp(path: Path) -> Stamp | None:
    try:
        return Stamp.of(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
