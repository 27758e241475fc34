"""A run: every model on every entry of a suite, each written as soon as it is done, and continued where it ended."""

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from claas.bench import project
from claas.bench.catalogue import SMOKE, Chosen, catalogue
from claas.bench.model import Model, Tell
from claas.bench.models import open_models
from claas.bench.scoring import TaskFailed, evaluate
from claas.bench.settings import WIRE, BenchConfig
from claas.bench.suite import PreparedEntry, Suite, prepare
from claas.core.checks import first_problem
from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.files import dump_json, read_text, working_in, write_atomically
from claas.eval.metrics.sandbox import SandboxError
from claas.eval.stacks.http_client import RequestLost
from claas.eval.stacks.stack import LostAnswer
from claas.results.benchmarks import (
    AnsweredBy,
    BenchmarkFiles,
    BenchmarkRun,
    CompletedTask,
    EvalResult,
    PartialRun,
    TaskResult,
)
from claas.results.records import utc_now


async def run_bench(config: BenchConfig, asked: Chosen, tell: Tell) -> list[EvalResult]:
    """Run every model on every entry; the result of each model, in which a task that failed has an `error`.

    A model's row is appended to `metrics.json` when all its tasks are complete. `StackError`: the API is gone, or other
    weights answer; the same call then continues.
    """
    BenchmarkFiles(config.output_folder).read_runs()  # what is wrong with it is said before anything is asked
    suite = await asyncio.to_thread(prepare, asked.entries, config.datasets_folder, config.include_folder)
    for line in asked.left_out:
        tell(line)
    async with open_models(config, tell) as models:
        return await run_models(config, asked, suite, models, tell)


async def run_models(
    config: BenchConfig, asked: Chosen, suite: Suite, models: Sequence[Model], tell: Tell
) -> list[EvalResult]:
    """As `run_bench`, of models that are open already on a suite that is prepared."""
    in_chat = config.apply_chat_template or config.fewshot_as_multiturn
    if in_chat and (plain := [model for model in models if not model.has_template]):
        raise InvalidInput(f"{plain[0].name} cannot be asked as in a chat: {plain[0].named.name} has no chat template")
    for line in _warnings(config, suite, any(model.has_template for model in models)):
        tell(line)
    files = BenchmarkFiles(config.output_folder)
    at_once = asyncio.Semaphore(config.parallel_models if config.backend == WIRE else 1)  # of which each is in memory

    async def bounded(model: Model) -> EvalResult:
        async with at_once:
            return await _Run(config, asked, suite, files, model, run_name(config, model, len(models)), tell).result()

    return await together(map(bounded, models))


def _warnings(config: BenchConfig, suite: Suite, has_template: bool) -> list[str]:
    """What keeps scores from comparing with others', or from saying what the model can do."""
    if not has_template:
        return []
    if config.apply_chat_template is False:
        return ["asked without the chat template that the model has: no score compares with one that was made with it"]
    tasks, listed = [prepared.entry.task for prepared in suite.entries], catalogue().tasks
    return [
        f"{task} is asked as in a chat, where {task}_instruct is the one that is written for it"
        for task in tasks
        if f"{task}_instruct" in listed
    ]


@dataclass(frozen=True)
class _Run:
    """One model on every entry."""

    config: BenchConfig
    asked: Chosen
    suite: Suite
    files: BenchmarkFiles
    model: Model
    name: str
    tell: Tell

    async def result(self) -> EvalResult:
        """Its result, on disk."""
        started = time.monotonic()
        taken = f"another process is at work on the run {self.name!r} in {self.files.root}; give this one another name"
        with working_in(self.files.root, f".{self.name}.lock", taken):
            if (complete := self._complete()) is not None:
                self.tell(f"{self.name} is complete already")
                return complete
            partial = self._continued()
            lm = None
            if len(partial.completed) < len(self.suite.entries):
                lm = await asyncio.to_thread(self.model.lm)
            results = [await self._entry(prepared, partial, lm) for prepared in self.suite.entries]
            result = project.eval_result(
                self.model.name,
                results,
                seconds=time.monotonic() - started,
                backend=self.config.backend,
                fixture=any(prepared.data.fixture for prepared in self.suite.entries),
            )
            self.files.write_summary(self.name, result)
            if result.n_tasks_failed == 0:
                self.files.promote(self._row(partial))
        return result

    def _complete(self) -> EvalResult | None:
        """The result that is on disk, where the newest row of this name is of the same weights asked the same."""
        rows = [run for run in self.files.read_runs().runs if run.name == self.name]
        mark = _digest([self._fingerprint(prepared) for prepared in self.suite.entries])
        if not self.config.resume or not rows or (rows[-1].fingerprint, rows[-1].method) != (mark, self.config.method):
            return None
        items = [self.files.samples(self.name, prepared.entry.task) for prepared in self.suite.entries]
        written = [self.files.summary(self.name), *(items if self.config.log_samples else [])]
        return self.files.read_summary(self.name) if all(path.exists() for path in written) else None

    def _continued(self) -> PartialRun:
        """What an earlier run of this name has completed under the same circumstances."""
        marks = {prepared.entry.task: self._fingerprint(prepared) for prepared in self.suite.entries}
        if not self.config.resume:
            for mark in marks.values():
                self._answers(mark).unlink(missing_ok=True)
            return PartialRun()
        earlier = self.files.read_partial(self.name).completed
        kept = {task: done for task, done in earlier.items() if marks.get(task) == done.fingerprint}
        for task in (earlier.keys() & marks.keys()) - kept.keys():
            self.tell(f"{self.name}: {task} was asked of other weights, or otherwise, before, and is run anew")
        return PartialRun(completed=kept)

    async def _entry(self, prepared: PreparedEntry, partial: PartialRun, lm: Any) -> TaskResult:
        task = prepared.entry.task
        if task in partial.completed:
            self.tell(f"{self.name}: {task} is complete already")
            return partial.completed[task].result
        started = time.monotonic()
        primary = catalogue().metric(task)
        mark = self._fingerprint(prepared)
        try:
            raw = await asyncio.to_thread(self._ask, prepared, mark, lm)
            result = project.task_result(raw, task, prepared.reported, primary)
        except (TaskFailed, LostAnswer, RequestLost, SandboxError, InvalidInput) as error:
            self.tell(f"{self.name}: {task} failed: {error}")
            return project.failed(task, str(error), primary)
        partial.completed[task] = CompletedTask(
            fingerprint=mark,
            result=result,
            metrics=project.flat_metrics(raw, prepared.reported),
            num_fewshot=project.num_fewshot(raw),
            limit=prepared.entry.limit,
            version=project.version(raw),
            data=prepared.data.model_copy(update={"rows": project.rows(raw)}),
            seconds=time.monotonic() - started,
        )
        self._write(task, raw, partial)
        part = f" ({prepared.data.part})" if prepared.data.part else ""
        self.tell(f"{self.name}: {task} {result.primary_metric} {result.value:.3f} of {result.n_samples} items{part}")
        return result

    def _ask(self, prepared: PreparedEntry, mark: str, lm: Any) -> project.Raw:
        return evaluate(
            lm,
            data=prepared.data.path,
            answers=self._answers(mark),
            tasks=[prepared.group],
            task_manager=self.suite.manager,
            limit=prepared.entry.limit,
            apply_chat_template=self._uses_template,
            fewshot_as_multiturn=self._as_turns,
            **self.config.lm_eval_settings(),
        )

    def _write(self, task: str, raw: project.Raw, partial: PartialRun) -> None:
        if self.config.log_samples:
            items = project.items(raw, AnsweredBy(name=self.model.name, digest=self.model.digest))
            self.files.write_samples(self.name, task, items)
        path = self.files.raw(self.name)
        earlier = _raw(path) if len(partial.completed) > 1 and path.exists() else {}
        write_atomically(path, json.dumps(project.merged(earlier, raw)))
        self.files.write_partial(self.name, partial)

    def _row(self, partial: PartialRun) -> BenchmarkRun:
        done = {prepared.entry.task: partial.completed[prepared.entry.task] for prepared in self.suite.entries}
        return BenchmarkRun(
            name=self.name,
            method=self.config.method,
            timestamp=utc_now(),
            base_model=self.config.model,
            adapter=self.model.adapter,
            digest=self.model.digest,
            tokenizer=self.model.named.name,
            backend=self.config.backend,
            suite=self.asked.suite,
            smoke=self.asked.suite == SMOKE,
            apply_chat_template=self._uses_template,
            settings=self.config.asked,
            lm_eval_version=_lm_eval_version(),
            limits={task: each.limit for task, each in done.items()},
            num_fewshot={task: each.num_fewshot for task, each in done.items()},
            n_samples={task: each.result.n_samples or 0 for task, each in done.items()},
            task_versions={task: each.version for task, each in done.items()},
            datasets={task: each.data for task, each in done.items()},
            fingerprint=_digest([each.fingerprint for each in done.values()]),
            metrics={f"{task}/{key}": value for task, each in done.items() for key, value in each.metrics.items()},
        )

    @property
    def _uses_template(self) -> bool:
        asked = self.config.apply_chat_template
        return self.model.has_template if asked is None else asked

    @property
    def _as_turns(self) -> bool:
        """Whether worked examples are earlier turns of the chat."""
        asked = self.config.fewshot_as_multiturn
        return self._uses_template if asked is None else asked

    def _answers(self, mark: str) -> Path:
        """Where every answer that came is kept, whether or not its task was finished."""
        return self.files.root / "responses" / f"{mark}.jsonl"

    def _fingerprint(self, prepared: PreparedEntry) -> str:
        """Of the weights, of what they are asked, and how."""
        return _digest(
            [
                prepared.entry.model_dump(),
                prepared.data.content(),
                prepared.source,
                self.model.digest,
                self.model.mark,
                self.model.named.mark,
                self._uses_template,
                self._as_turns,
                self.config.asked,
                _lm_eval_version(),
            ]
        )


def run_name(config: BenchConfig, model: Model, models: int) -> str:
    """The name of the run of one of `models` models."""
    own = model.name.replace("/", "-") + ("" if config.backend == WIRE else f"-{config.backend}")
    return own if config.name is None else config.name if models == 1 else f"{config.name}-{own}"


def _raw(path: Path) -> dict[str, Any]:
    """What lm-eval said of the tasks before."""
    try:
        return _JSON_OBJECT.validate_json(read_text(path))
    except ValidationError as error:
        raise InvalidInput(
            f"{path} is damaged ({first_problem(error)}); put back a copy, or remove it and go on without"
        ) from None


_JSON_OBJECT = TypeAdapter(dict[str, Any])


@cache
def _lm_eval_version() -> str:
    return version("lm_eval")


def _digest(parts: Any) -> str:
    return hashlib.sha256(dump_json(parts).encode()).hexdigest()[:32]
