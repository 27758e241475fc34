"""What a benchmark run writes: the result of one model, item by item, and its row among all runs in metrics.json."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from claas.core.errors import InvalidInput
from claas.core.files import dump_json, in_turn, read_records, read_text, write_atomically
from claas.results.records import SCHEMA_VERSION, Record
from claas.results.run_files import parsed

R = TypeVar("R", bound=Record)

FIXTURE = "fixture: rows of our own, not the benchmarks'"
"""Said beside every number that was made from rows that only have a data set's form."""


class TaskResult(Record):
    """One task or group of tasks. `value` is `all_metrics[primary_metric]`, None where it failed: `error` says why.

    `all_metrics` holds what lm-eval found: `acc`, `acc_stderr`. A number that was made with a filter has it in its name
    (`exact_match,strict-match`), but for the filter of the primary metric. A group counts the items of all its tasks.
    """

    task: str
    primary_metric: str | None
    value: float | None
    n_samples: int | None
    all_metrics: dict[str, float]
    error: str | None = None


class EvalResult(Record):
    """One model on some tasks. `fixture` is written where it is true: own rows stood in for a data set."""

    model_name: str
    tasks: list[str]
    task_results: list[TaskResult]
    n_tasks_completed: int
    n_tasks_failed: int
    duration_seconds: float
    backend: str
    fixture: bool = False

    def average_score(self) -> float:
        """The mean of the tasks' values, those left out that failed; `InvalidInput` where all did."""
        values = [result.value for result in self.task_results if result.value is not None]
        if not values:
            raise InvalidInput(f"no task of {self.model_name} was completed, so there is no average score")
        return fmean(values)

    @model_serializer(mode="wrap")
    def _without_what_is_no_fixture(self, as_usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = as_usual(self)
        if not self.fixture:
            del written["fixture"]
        return written


class TaskData(Record):
    """The rows that a task read: the data set's name, and the sha256 of its files where they were local.

    `rows` is how many there are to ask, before any limit. `part` is what the data's card says where they are not the
    whole data set, and `fixture` that they are somebody's own in its schema: no number made from them is the
    benchmark's.
    """

    path: str
    sha256: str | None = None
    rows: int | None = None
    part: str | None = None
    fixture: bool = False

    def content(self) -> dict[str, Any]:
        """Which rows they are; how many follows from it."""
        return {"path": self.path, "sha256": self.sha256, "fixture": self.fixture}


class CompletedTask(Record):
    """One task of a run that is on disk while the run goes on; `fingerprint` says of what and how it was asked.

    `metrics` are lm-eval's numbers under its own names (`acc,none`), without standard errors. `num_fewshot` is the
    number of worked examples before each question, `limit` the most items of each of a group's tasks.
    """

    fingerprint: str
    result: TaskResult
    metrics: dict[str, float]
    num_fewshot: int
    limit: int | None
    version: str
    data: TaskData
    seconds: float


class PartialRun(Record):
    """`metrics.<name>.partial.json`: what a run that is not over has completed."""

    schema_version: int = SCHEMA_VERSION
    completed: dict[str, CompletedTask] = Field(default_factory=dict[str, CompletedTask])


class BenchmarkRun(Record):
    """One row of `metrics.json`: one model on one suite, every task of which was completed.

    `adapter` is the version asked (`eval-concise@20`), None for the base model, and `digest` the weights that answered.
    `metrics` is flat, `task/metric,filter`; the other mappings are by task. `smoke` and the data's `fixture` say of
    numbers that they only show that everything works. `settings` is what was asked otherwise than the tasks say.
    Of a `harness` other than lm-eval, what its files do not say is empty, None, or left out of a mapping.
    `fingerprint` is that of all tasks together.
    """

    name: str
    method: str
    timestamp: str
    base_model: str
    adapter: str | None
    digest: str
    tokenizer: str
    backend: str
    harness: str = "lm-eval"
    suite: str
    smoke: bool
    apply_chat_template: bool | None
    settings: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    lm_eval_version: str
    limits: dict[str, int | None]
    num_fewshot: dict[str, int]
    n_samples: dict[str, int]
    task_versions: dict[str, str]
    datasets: dict[str, TaskData]
    fingerprint: str
    metrics: dict[str, float]

    @model_validator(mode="after")
    def _says_all_of_each_task(self) -> Self:
        for name in ("num_fewshot", "task_versions", "datasets"):
            if getattr(self, name).keys() != self.limits.keys():
                raise ValueError(f"{name} and limits are not of the same tasks")
        datetime.fromisoformat(self.timestamp)
        return self

    @property
    def fixture(self) -> bool:
        """Whether any task read rows that only have its data set's form."""
        return any(data.fixture for data in self.datasets.values())


class BenchmarkRuns(Record):
    """`metrics.json`: every run, the oldest first."""

    schema_version: int = SCHEMA_VERSION
    runs: list[BenchmarkRun] = Field(default_factory=list[BenchmarkRun])


class AnsweredBy(Record):
    """The weights that answered: the name they were asked by, and the digest of their content."""

    name: str
    digest: str


ItemKey = tuple[str, str, int]
"""The task (of a group's tasks, which one), the filter, and the number of the row in the data."""


class ScoredItem(Record):
    """What a pair needs of a `BenchmarkItem`; the rest, which may be megabytes of prompts, is not read."""

    model_config = ConfigDict(extra="ignore")

    task: str
    filter: str
    doc_id: int
    doc_hash: str
    prompt_hash: str
    target_hash: str
    scores: dict[str, float | Annotated[list[float], Field(min_length=1)]]
    weights: AnsweredBy

    @property
    def key(self) -> ItemKey:
        """By what it is found in another run."""
        return self.task, self.filter, self.doc_id

    def score(self, metric: str) -> float:
        """The score by one metric; where that counts several things in one answer, their mean."""
        score = self.scores[metric]
        return fmean(score) if isinstance(score, list) else score


class BenchmarkItem(ScoredItem):
    """One item of a task under one filter: a line of `samples.<task>.jsonl`.

    (`task`, `filter`, `doc_id`) pairs it with the same item of another run, where `doc_hash` (the row), `prompt_hash`
    (what was asked, worked examples and chat template included) and `target_hash` agree. `scores` are the metrics of
    this item; a list where the metric counts several things in one answer. `arguments` is what was asked, one for each
    choice, `resps` what came back: `[log probability, whether greedy]` or a text; `filtered_resps` what was scored.
    `outcome` says of a program what became of it: `passed`, or why not (`NameError: ...`, `out of time`).
    """

    model_config = ConfigDict(extra="forbid")

    target: str
    arguments: list[Any]
    resps: list[Any]
    filtered_resps: Any
    outcome: str | None = None


@dataclass(frozen=True)
class BenchmarkFiles:
    """The folder of benchmark results: a row for each run, and a folder for each run's details."""

    root: Path

    @property
    def metrics(self) -> Path:
        """Every run that was completed."""
        return self.root / "metrics.json"

    def partial(self, name: str) -> Path:
        """What the run `name` has completed so far."""
        return self.root / f"metrics.{name}.partial.json"

    def run(self, name: str) -> Path:
        """The folder of a run's summary, raw results and samples."""
        return self.root / name

    def summary(self, name: str) -> Path:
        """The `EvalResult` of a run."""
        return self.run(name) / "lm_eval_summary.json"

    def raw(self, name: str) -> Path:
        """What lm-eval said of a run, without the items."""
        return self.run(name) / "lm_eval_raw.json"

    def samples(self, name: str, task: str) -> Path:
        """The items of one task of a run, a line each."""
        return self.run(name) / f"samples.{task}.jsonl"

    def read_runs(self) -> BenchmarkRuns:
        """Every run; none where the file is missing. `InvalidInput` on one that is damaged."""
        return _read(self.metrics, BenchmarkRuns) if self.metrics.exists() else BenchmarkRuns()

    def read_partial(self, name: str) -> PartialRun:
        """What the run has completed; nothing where it was not begun. `InvalidInput` on a file that is damaged."""
        path = self.partial(name)
        return _read(path, PartialRun) if path.exists() else PartialRun()

    def write_partial(self, name: str, partial: PartialRun) -> None:
        """Keep what the run has completed."""
        _write(self.partial(name), partial.model_dump())

    def promote(self, run: BenchmarkRun) -> None:
        """Append the row of a run that is complete, and remove its partial. Two processes take turns."""
        with in_turn(self.root / ".metrics.lock"):
            earlier = self.read_runs()
            _write(self.metrics, BenchmarkRuns(runs=[*earlier.runs, run]).model_dump())
        self.partial(run.name).unlink(missing_ok=True)

    def read_summary(self, name: str) -> EvalResult:
        """The result of a run."""
        return _read(self.summary(name), EvalResult)

    def write_summary(self, name: str, result: EvalResult) -> None:
        """Write the result of a run."""
        _write(self.summary(name), result.model_dump())

    def read_samples(self, name: str, task: str) -> list[BenchmarkItem]:
        """The items of one task of a run; none where they were not written."""
        return read_records(self.samples(name, task), BenchmarkItem, "put back a copy, or run the task again")

    def write_samples(self, name: str, task: str, samples: list[BenchmarkItem]) -> None:
        """Write the items of one task of a run."""
        lines = "".join(f"{dump_json(sample.model_dump())}\n" for sample in samples)
        write_atomically(self.samples(name, task), lines)


def hub_id(model: str) -> str:
    """A model's name as `owner/name`, as others want it: of a folder its last part, and ours where nobody owns it."""
    owned = re.fullmatch(r"([\w.-]+)/([^/]+)", model)
    return model if owned and not model.startswith(".") else f"claas/{Path(model).name}"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, dump_json(content, indent=1) + "\n")


def _read(path: Path, into: type[R]) -> R:
    return parsed(path, read_text(path), into, "put back a copy, or move it away and start anew")
