"""`python -m claas.bench.import_results <file or folder>... -o <results>`: rows of what lighteval and HELM measured."""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import stdev
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, RootModel, ValidationError

from claas.core.checks import first_problem, is_finite, served_name
from claas.core.errors import InvalidInput
from claas.core.files import dump_json, read_text
from claas.core.output import Done, Parser, ended
from claas.results.benchmarks import BenchmarkFiles, BenchmarkRun, EvalResult, TaskData, TaskResult

MODULE = "claas.bench.import_results"

M = TypeVar("M", bound=BaseModel)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    return ended(MODULE, _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    parser = Parser("claas bench import", "Take in what lighteval and HELM measured, as benchmark runs.")
    parser.add_argument(
        "source",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="lighteval's results_*.json, HELM's run, or a folder of them",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("results"), metavar="FOLDER", help="the folder to write to"
    )
    parser.add_argument(
        "--base-model", metavar="MODEL", help="what the models are adapters of; without, each stands for itself"
    )
    parser.add_argument("--method", default="", metavar="TEXT", help="what was done to the model, for the record")
    parser.add_argument("--fixture", action="store_true", help="the rows only have the form of the data sets'")
    given = parser.parsed(arguments)
    found = [each for source in given.source for each in measured(source)]
    lines: list[str] = []
    for line in import_runs(found, BenchmarkFiles(given.output), given.base_model, given.method, given.fixture):
        lines.append(line)
        print(line)
    return Done(result={"output": str(given.output), "lines": lines})


@dataclass(frozen=True)
class MeasuredTask:
    """One task as another harness measured it; the first metric is reported first. None: it does not say."""

    metrics: Mapping[str, float]
    standard_errors: Mapping[str, float]
    num_fewshot: int
    limit: int | None
    n: int | None
    version: str
    data: TaskData


@dataclass
class MeasuredModel:
    """One model by another harness. `content` is what the files hold, by which they are known again."""

    harness: str
    model: str
    suite: str
    timestamp: str
    tasks: dict[str, MeasuredTask]
    content: list[str] = field(default_factory=list[str])


def measured(source: Path) -> list[MeasuredModel]:
    """What is in a file of lighteval's, a run of HELM's, or below a folder; `InvalidInput` where there is neither."""
    if source.is_file():
        return [_of_lighteval(source)]
    lighteval = sorted(source.rglob("results_*.json"))
    helm = sorted(path.parent for path in source.rglob("run_spec.json") if (path.parent / "stats.json").is_file())
    if not lighteval and not helm:
        raise InvalidInput(
            f"{source}: there is neither a results_*.json of lighteval's nor a run of HELM's, which is a folder with "
            "run_spec.json and stats.json"
        )
    return [*map(_of_lighteval, lighteval), *_of_helm(helm)]


def import_runs(
    found: Sequence[MeasuredModel], files: BenchmarkFiles, base_model: str | None, method: str, fixture: bool
) -> Iterator[str]:
    """Append a row for each, and say so; what has its row already is left alone."""
    known = {run.fingerprint for run in files.read_runs().runs}
    for each in found:
        row = _row(each, base_model, method, fixture)
        if row.fingerprint in known:
            yield f"{row.name}: has its row already"
            continue
        files.write_summary(row.name, _summary(each, row.fixture))
        files.promote(row)
        yield f"{row.name}: {', '.join(each.tasks)}"


def _row(found: MeasuredModel, base_model: str | None, method: str, fixture: bool) -> BenchmarkRun:
    tasks = found.tasks
    own = "@".join(map(served_name, found.model.rsplit("@", 1)))
    return BenchmarkRun(
        name=f"{found.harness}-{own}",
        method=method,
        timestamp=found.timestamp,
        base_model=base_model or found.model,
        adapter=found.model if base_model not in (None, found.model) else None,
        digest="",
        tokenizer="",
        backend="",
        harness=found.harness,
        suite=found.suite,
        smoke=False,
        apply_chat_template=None,
        lm_eval_version="",
        limits={name: task.limit for name, task in tasks.items()},
        num_fewshot={name: task.num_fewshot for name, task in tasks.items()},
        n_samples={name: task.n for name, task in tasks.items() if task.n is not None},
        task_versions={name: task.version for name, task in tasks.items()},
        datasets={
            name: task.data.model_copy(update={"fixture": fixture or task.data.fixture}) for name, task in tasks.items()
        },
        fingerprint=hashlib.sha256(dump_json([found.harness, *found.content]).encode()).hexdigest()[:32],
        metrics={f"{name}/{key},none": value for name, task in tasks.items() for key, value in task.metrics.items()},
    )


def _summary(found: MeasuredModel, fixture: bool) -> EvalResult:
    results = [
        TaskResult(
            task=name,
            primary_metric=next(iter(task.metrics)),
            value=next(iter(task.metrics.values())),
            n_samples=task.n,
            all_metrics={**task.metrics, **{f"{key}_stderr": each for key, each in task.standard_errors.items()}},
        )
        for name, task in found.tasks.items()
    ]
    return EvalResult(
        model_name=found.model,
        tasks=list(found.tasks),
        task_results=results,
        n_tasks_completed=len(results),
        n_tasks_failed=0,
        duration_seconds=0.0,
        backend=found.harness,
        fixture=fixture,
    )


Measured = Annotated[float | None, AfterValidator(lambda number: number if is_finite(number) else None)]
"""A number, None where it is NaN or infinite: nothing was counted."""


class _AnyResults(BaseModel):
    """What tells lm-eval's results from others."""

    lm_eval_version: Any = None


class _LightevalTask(BaseModel):
    """What lighteval 0.13 says of a task; -1 stands for what it did not count."""

    hf_repo: str = ""
    hf_subset: str | None = None
    num_fewshots: int = 0
    effective_num_docs: int = -1
    version: int | str = 0


class _LightevalGeneral(BaseModel):
    model_name: str
    max_samples: int | None = None


class _LightevalResults(BaseModel):
    """`results_<time>.json` of lighteval 0.13: scores by `task|shots`, standard errors among them."""

    config_general: _LightevalGeneral
    results: dict[str, dict[str, Measured]]
    config_tasks: dict[str, _LightevalTask] = Field(default_factory=dict[str, _LightevalTask])


def _of_lighteval(path: Path) -> MeasuredModel:
    text = read_text(path)
    if _checked(path, text, _AnyResults, "results of lighteval's").lm_eval_version is not None:
        raise InvalidInput(f"{path} is lm-eval's own: python -m claas.bench makes such rows, with items to compare")
    read = _checked(path, text, _LightevalResults, "results of lighteval's")
    shown = {name: scores for name, scores in read.results.items() if name != "all"}
    groups = {name.partition(":_average|")[0] for name in shown if ":_average|" in name}
    tasks: dict[str, MeasuredTask] = {}
    for name, scores in shown.items():
        task, _, shots = name.rpartition("|")
        if ":_average" not in name and task.partition(":")[0] in groups:
            continue  # its group has the mean
        members = [
            config
            for other, config in read.config_tasks.items()
            if other == name or (":_average|" in name and other.startswith(f"{task.removesuffix(':_average')}:"))
        ]
        numbers = {key: each for key, each in scores.items() if each is not None}
        counts = [member.effective_num_docs for member in members]
        metrics = {key: each for key, each in numbers.items() if not key.endswith("_stderr")}
        if not metrics:
            raise InvalidInput(f"{path} has no number of {name}")
        repos = dict.fromkeys("/".join(filter(None, (member.hf_repo, member.hf_subset))) for member in members)
        tasks[task.removesuffix(":_average") or name] = MeasuredTask(
            metrics=metrics,
            standard_errors={key.removesuffix("_stderr"): numbers[key] for key in numbers if key.endswith("_stderr")},
            num_fewshot=int(shots) if re.fullmatch("[0-9]{1,4}", shots) else 0,
            limit=read.config_general.max_samples,
            n=sum(counts) if counts and min(counts) >= 0 else None,
            version=", ".join(sorted({str(member.version) for member in members})),
            data=TaskData(path=", ".join(list(repos)[:3]) or task),
        )
    if not tasks:
        raise InvalidInput(f"{path} has no number of any task")
    return MeasuredModel("lighteval", read.config_general.model_name, ", ".join(tasks), _time(path), tasks, [text])


class _Spec(BaseModel):
    class_name: str
    args: dict[str, Any] = Field(default_factory=dict[str, Any])


class _MetricNames(BaseModel):
    names: list[str] = Field(default_factory=list[str])


class _Metric(BaseModel):
    """A metric's settings, which may be without names."""

    args: _MetricNames = Field(default_factory=_MetricNames)


class _HelmAdapter(BaseModel):
    model: str
    max_train_instances: int = 0
    max_eval_instances: int | None = None


class _HelmRun(BaseModel):
    """`run_spec.json` of HELM 0.5."""

    name: str
    scenario_spec: _Spec
    adapter_spec: _HelmAdapter
    metric_specs: list[_Metric]


class _HelmName(BaseModel):
    name: str
    split: str | None = None
    perturbation: dict[str, Any] | None = None


class _HelmStat(BaseModel):
    """One of `stats.json`, over all instances; `mean` is missing where nothing was counted."""

    name: _HelmName
    count: int
    mean: Measured = None


class _HelmStats(RootModel[list[_HelmStat]]):
    """`stats.json`."""


class _HelmInstance(BaseModel):
    stats: list[_HelmStat]


class _HelmInstances(RootModel[list[_HelmInstance]]):
    """`per_instance_stats.json`."""


def _of_helm(runs: Sequence[Path]) -> list[MeasuredModel]:
    """The runs of each model and suite, one task each, together."""
    found: dict[tuple[str, Path], MeasuredModel] = {}
    for folder in runs:
        path, text = folder / "run_spec.json", read_text(folder / "run_spec.json")
        spec = _checked(path, text, _HelmRun, "a run of HELM's")
        model = spec.adapter_spec.model
        key = model, folder.parent
        measured = found.setdefault(key, MeasuredModel("helm", model, folder.parent.name, "", {}))
        task = re.sub(r"[:,]model(?:_deployment)?=[^,]*", "", spec.name)
        measured.tasks[task] = _helm_task(folder, spec)
        measured.timestamp = max(measured.timestamp, _time(folder / "stats.json"))
        measured.content += [text, read_text(folder / "stats.json")]
    return list(found.values())


def _helm_task(folder: Path, spec: _HelmRun) -> MeasuredTask:
    path = folder / "stats.json"
    stats = _checked(path, read_text(path), _HelmStats, "statistics of HELM's").root
    tested = {
        stat.name.name: stat
        for stat in stats
        if stat.name.perturbation is None and stat.name.split in (None, "test") and stat.mean is not None
    }
    names = [name for metric in spec.metric_specs for name in metric.args.names if name in tested]
    if not names:
        raise InvalidInput(f"{path} has no number of the metrics that {folder / 'run_spec.json'} names")
    instances = tested.get("num_instances")
    scenario = spec.scenario_spec
    return MeasuredTask(
        metrics={name: tested[name].mean or 0.0 for name in names},
        standard_errors=_helm_errors(folder / "per_instance_stats.json", names),
        num_fewshot=spec.adapter_spec.max_train_instances,
        limit=spec.adapter_spec.max_eval_instances,
        n=None if instances is None or instances.mean is None else round(instances.mean),
        version="",
        data=TaskData(path=f"{scenario.class_name.rpartition('.')[2]} {json.dumps(scenario.args, ensure_ascii=False)}"),
    )


def _helm_errors(path: Path, names: Sequence[str]) -> dict[str, float]:
    """Standard errors of the means over instances; HELM keeps none itself."""
    if not path.is_file():
        return {}
    found = _checked(path, read_text(path), _HelmInstances, "instances of HELM's")
    scores: dict[str, list[float]] = {}
    for instance in found.root:
        for stat in instance.stats:
            if stat.name.perturbation is None and stat.name.split in (None, "test") and stat.mean is not None:
                scores.setdefault(stat.name.name, []).append(stat.mean)
    return {name: stdev(scores[name]) / len(scores[name]) ** 0.5 for name in names if len(scores.get(name, [])) > 1}


def _time(path: Path) -> str:
    """When the results were written: as lighteval has it in the file's name, else as the file system has it."""
    named = re.fullmatch(r"results_(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)(?:\.\d+)?", path.stem)
    with suppress(ValueError):  # it may look like a time and be none
        if named:
            local = datetime.fromisoformat(f"{named[1]}T{named[2]}:{named[3]}:{named[4]}").astimezone()
            return local.astimezone(UTC).isoformat(timespec="milliseconds")
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="milliseconds")


def _checked(path: Path, text: str, kind: type[M], what: str) -> M:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInput(f"{path} is not {what}: {first_problem(error)}") from None


if __name__ == "__main__":
    sys.exit(main())
