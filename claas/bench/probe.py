"""`python -m claas.bench.probe baseline=...`: has a model lost what it could do? A few items against a baseline.

With a hundred items a task the plain rule, a drop of more than the tolerance, mostly measures noise: every drop says
whether it is beyond that, and how many items would settle it.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from claas.bench.catalogue import chosen
from claas.bench.scoring import require_lm_eval
from claas.bench.settings import ApiSettings, BenchConfig
from claas.core.checks import in_range, served_name
from claas.core.command_line import Command, Job
from claas.core.concurrency import run_until_terminated
from claas.core.configuration import check_limits, setting
from claas.core.errors import ExitCode, InvalidInput, StackError
from claas.core.files import dump_json, read_text, write_atomically
from claas.core.output import ALOUD, Done, Voice
from claas.core.settings import config_root
from claas.results.benchmarks import FIXTURE, BenchmarkRun, EvalResult, ScoredItem
from claas.results.decision import TaskDelta, deltas
from claas.results.numbers import fixed, signed
from claas.results.pairing import ScoredRun, paired, read_scored_run
from claas.results.records import SCHEMA_VERSION, Record, utc_now
from claas.results.run_files import parsed

PROBED = ("mmlu", "arc_challenge", "gsm8k", "hellaswag")
"""Knowledge, reasoning, mathematics and common sense, each once."""


class ProbedTask(Record):
    """A task at the baseline, for a person to read."""

    metric: str
    value: float
    n: int


class ProbeBaseline(Record):
    """`baseline.json`: what the model could do, item by item, so that later items are compared with their own."""

    schema_version: int = SCHEMA_VERSION
    created: str
    run: BenchmarkRun
    tasks: dict[str, ProbedTask]
    items: dict[str, list[ScoredItem]]

    @classmethod
    def of(cls, measured: ScoredRun) -> "ProbeBaseline":
        """What was measured, dated now."""
        tasks = {
            task: ProbedTask(metric=measured.metrics[task], value=fmean(pairs.before), n=len(pairs.before))
            for task, pairs in paired(measured, measured).items()
        }
        items = {task: list(found.values()) for task, found in measured.items.items()}
        return cls(created=utc_now(), run=measured.run, tasks=tasks, items=items)

    @property
    def measured(self) -> ScoredRun:
        """The run that it was made of."""
        metrics = {task: probed.metric for task, probed in self.tasks.items()}
        items = {task: {item.key: item for item in found} for task, found in self.items.items()}
        return ScoredRun(self.run, metrics, items)


class ProbeReport(Record):
    """How far every task is from its baseline. `confirm`: only drops beyond noise count as regressions.

    `wrote_baseline`: there was none, and now there is, so that nothing can have regressed. `fixture`: of rows that only
    have the data sets' form, so that nothing here is a benchmark's number.
    """

    cycle: int | None
    model_name: str
    tolerance: float
    confirm: bool
    wrote_baseline: bool
    fixture: bool
    deltas: dict[str, TaskDelta] = Field(default_factory=dict[str, TaskDelta])
    has_regression: bool

    def regressed_tasks(self) -> list[str]:
        """The tasks that count as regressions."""
        return _regressed(self.deltas, self.confirm)


Measure = Callable[[BenchConfig], ScoredRun]
"""Runs one model on some tasks; what it found, item by item."""


@dataclass
class MidTrainingProbe:
    """A probe of `model_name` every `every_n_cycles` cycles of a training, the first one included.

    `model_name` is an adapter, one version of it (`eval-concise@20`), or None for the base model; a loop that makes
    versions sets it anew. The first run writes the baseline where there is none. `settings` say how the API is reached.
    `runner` stands in for lm-eval.
    """

    model_name: str | None
    baseline_path: Path | str
    every_n_cycles: int = 5
    regression_tolerance: float = 0.05
    tasks: Sequence[str] = ()
    limit: int | None = 100
    confirm: bool = False
    settings: BenchConfig = field(default_factory=BenchConfig)
    runner: Measure | None = None

    def __post_init__(self) -> None:
        in_range("every_n_cycles", self.every_n_cycles, 1)
        in_range("regression_tolerance", self.regression_tolerance, 0, 1)
        if self.limit is not None:
            in_range("limit", self.limit, 1)

    def should_run(self, cycle: int) -> bool:
        """Whether a probe is due after this cycle, counted from 0."""
        return cycle >= 0 and cycle % self.every_n_cycles == 0

    def run(self, *, cycle: int | None = None) -> ProbeReport:
        """Measure, and compare with the baseline; `InvalidInput` where the two were not asked the same.

        It blocks until all is answered: from a coroutine, call it in a thread.
        """
        path = Path(self.baseline_path).expanduser()
        baseline = _read_baseline(path) if path.exists() else None
        if baseline is not None:
            self._require_same(baseline, path)
        measured = (self.runner or _measured)(self._to_run(baseline))
        if baseline is None:
            write_atomically(path, dump_json(ProbeBaseline.of(measured).model_dump()) + "\n")
            return self._report(cycle, measured, {}, wrote_baseline=True)
        found = deltas(paired(baseline.measured, measured), self.regression_tolerance)
        return self._report(cycle, measured, found, wrote_baseline=False)

    def _to_run(self, baseline: ProbeBaseline | None) -> BenchConfig:
        tasks = self.tasks or (PROBED if baseline is None else list(baseline.tasks))
        return replace(
            self.settings,
            name=served_name(self.model_name or self.settings.model).lstrip("-._"),
            suite=None,
            tasks=list(tasks),
            limit=self.limit,
            adapters=[] if self.model_name is None else [self.model_name],
            include_base=self.model_name is None,
            log_samples=True,
        )

    def _require_same(self, baseline: ProbeBaseline, path: Path) -> None:
        """What can be known to differ before minutes are spent."""
        asked = chosen(None, self.tasks or list(baseline.tasks), limit=self.limit, num_fewshot=None)
        for what, one, other in (
            ("limit", set(map(dump_json, baseline.run.limits.values())), {dump_json(self.limit)}),
            ("base_model", {baseline.run.base_model}, {self.settings.model}),
            ("tasks", set(baseline.tasks), {entry.task for entry in asked.entries}),
        ):
            if one != other:
                made, now = ", ".join(sorted(one)), ", ".join(sorted(other))
                raise InvalidInput(
                    f"{path} was made with {what} {made}, and this is {now}: probe as it was made, or give another "
                    "baseline file"
                )

    def _report(
        self, cycle: int | None, measured: ScoredRun, found: dict[str, TaskDelta], *, wrote_baseline: bool
    ) -> ProbeReport:
        return ProbeReport(
            cycle=cycle,
            model_name=measured.run.adapter or measured.run.base_model,
            tolerance=self.regression_tolerance,
            confirm=self.confirm,
            wrote_baseline=wrote_baseline,
            fixture=measured.run.fixture,
            deltas=found,
            has_regression=bool(_regressed(found, self.confirm)),
        )


_USAGE = """\
claas bench probe baseline=FILE [adapter=NAME] [key=value ...]

  claas bench probe baseline=baseline.json                                writes it, of the base model
  claas bench probe baseline=baseline.json adapter=eval-concise-mine@20   exit code 2 where a task regressed
"""


@dataclass
class ProbeConfig(ApiSettings):
    """What `python -m claas.bench.probe` is asked."""

    baseline: str = setting("", "file of the baseline; written where it is missing")
    adapter: str | None = setting(None, "an adapter, such as eval-concise@20; null: the base model")
    tasks: list[str] = setting([], f"empty: those of the baseline, else {', '.join(PROBED)}")
    limit: int | None = setting(100, "the most items of each task, those of a group counted one by one", low=1)
    tolerance: float = setting(0.05, "a drop of more than this is a regression", low=0.0, high=1.0)
    confirm: bool = setting(False, "only a drop beyond noise is a regression")
    output: str | None = setting(None, "file for the report as JSON")
    num_fewshot: int | None = setting(None, "worked examples before each question; null: the task's own number", low=0)
    tokenizer: str | None = setting(None, "a folder or a hub id; null: that of the base model")
    datasets_dir: str | None = setting(None, "a folder with <owner>/<name> for each data set, in place of the hub's")
    output_dir: str = setting("./results/probe", "the runs behind the reports")

    def __post_init__(self) -> None:
        check_limits(self)


COMMAND = Command("claas.bench.probe", ProbeConfig, config_root() / "bench", "probe", _USAGE)


def main(arguments: Sequence[str] | None = None, runner: Measure | None = None) -> int:
    """The `ExitCode`, 2 also where a task regressed."""

    def probed(job: Job[ProbeConfig]) -> Done:
        report = run_probe(job.config, job.voice, runner)
        return Done(ExitCode.MISTAKE if report.has_regression else ExitCode.COMPLETE, report)

    return COMMAND.ended(probed, arguments)


def run_probe(config: ProbeConfig, voice: Voice, runner: Measure | None = None) -> ProbeReport:
    """One probe, whose report is printed, and written where that is asked for."""
    if not config.baseline:
        raise InvalidInput("give baseline=FILE: it is written where it is missing")
    of_the_run = {each.name for each in fields(BenchConfig)}
    probe = MidTrainingProbe(
        model_name=config.adapter,
        baseline_path=config.baseline,
        regression_tolerance=config.tolerance,
        tasks=config.tasks,
        limit=config.limit,
        confirm=config.confirm,
        settings=BenchConfig(**{name: value for name, value in vars(config).items() if name in of_the_run}),
        runner=runner or (lambda asked: _measured(asked, run_until_terminated, voice)),
    )
    report = probe.run()
    for line in _lines(report, config):
        print(line)
    if config.output is not None:
        write_atomically(Path(config.output).expanduser(), dump_json(report.model_dump(), indent=1) + "\n")
    return report


def _lines(report: ProbeReport, config: ProbeConfig) -> Sequence[str]:
    made_up = [FIXTURE] if report.fixture else []
    if report.wrote_baseline:
        return [*made_up, f"{config.baseline} is written: {report.model_name} is the baseline of later probes"]
    regressed = report.regressed_tasks()
    return [
        *made_up,
        *(f"{task}: {_described(delta)}" for task, delta in report.deltas.items()),
        f"REGRESSION: {', '.join(regressed)}" if regressed else "no regression",
    ]


def _described(delta: TaskDelta) -> str:
    change = f"{fixed(delta.baseline, 3)} -> {fixed(delta.value, 3)} ({signed(delta.delta, 3)})"
    if not delta.regressed:
        return change
    if delta.confirmed:
        return f"{change}: dropped, beyond noise (p = {delta.p:.2g})"
    more = f": about {delta.n_needed} items would settle it" if delta.n_needed is not None else ""
    return f"{change}: dropped, within noise (p = {delta.p:.2g}){more}"


def _measured(
    config: BenchConfig,
    wait: Callable[[Coroutine[Any, Any, list[EvalResult]]], list[EvalResult]] = asyncio.run,
    voice: Voice = ALOUD,
) -> ScoredRun:
    """By lm-eval, over the wire; a task that failed is said, and the rest is not asked again."""
    require_lm_eval()
    from claas.bench.run import run_bench

    asked = chosen(None, config.tasks, limit=config.limit, num_fewshot=config.num_fewshot)
    (result,) = wait(run_bench(config, asked, voice.progress("claas.bench.probe")))
    if failed := [f"{each.task}: {each.error}" for each in result.task_results if each.value is None]:
        raise StackError(f"{'; '.join(failed)}; the same command again asks only these")
    return read_scored_run(config.output_folder / str(config.name))


def _regressed(found: dict[str, TaskDelta], confirm: bool) -> list[str]:
    return [task for task, delta in found.items() if (delta.confirmed if confirm else delta.regressed)]


def _read_baseline(path: Path) -> ProbeBaseline:
    return parsed(path, read_text(path), ProbeBaseline, "put back a copy, or remove it to have it written anew")


if __name__ == "__main__":
    sys.exit(main())
