"""`python -m claas.bench.export <results> -o <folder>`: every benchmark run for others, as every_eval_ever or CSV."""

import hashlib
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from claas.core.errors import InvalidInput
from claas.core.files import dump_json, write_atomically
from claas.core.output import Done, Parser, ended, say
from claas.dashboard.benchmark_cells import CONFIDENCE, Cell
from claas.dashboard.cohort import Cohort, CohortRow, Table, read_cohort
from claas.dashboard.cohort_csv import cohort_csv
from claas.results.benchmarks import BenchmarkRun, TaskData, hub_id

MODULE = "claas.bench.export"
SCHEMA = "0.2.1"
"""Of every_eval_ever; what is written is valid by 0.2.2 and 0.3.0, too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    return ended(MODULE, _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    parser = Parser("claas bench export", "Write benchmark runs in other tools' formats.")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="the output_dir of claas.bench")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="the folder to write to; it must be given"
    )
    parser.add_argument("--format", choices=_FORMATS, default="every_eval_ever", help="whose format")
    parser.add_argument(
        "--organization", default="unknown", metavar="NAME", help="who made the runs, for every_eval_ever"
    )
    given = parser.parsed(arguments)
    cohort = read_cohort(given.results)
    if not cohort.runs:
        raise InvalidInput(f"no completed run is in {given.results}; python -m claas.bench makes one")
    files: list[str] = []
    for path, text in _FORMATS[given.format](cohort, given.organization):
        write_atomically(given.output / path, text)
        files.append(str(given.output / path))
        print(files[-1])
    return Done(result={"files": files})


def _csv(cohort: Cohort, organization: str) -> Iterator[tuple[str, str]]:
    yield "cohort.csv", cohort_csv(cohort)


def _every_eval_ever(cohort: Cohort, organization: str) -> Iterator[tuple[str, str]]:
    """One file for each run, where every_eval_ever's collection would have it; the same run has the same name again."""
    for table in cohort.tables:
        for row in table.rows:
            made = evaluation_log(table, row, organization)
            if left_out := _unbounded(row.run):
                say(MODULE, f"{row.run.name}: without {', '.join(left_out)}: schema {SCHEMA} wants a score's bounds")
            owner, _, name = hub_id(row.model).partition("/")
            places = "/".join(_portable(part) for part in (row.run.suite, owner, name))
            digest = hashlib.sha256(row.run.model_dump_json().encode()).digest()
            yield f"data/{places}/{uuid.UUID(bytes=digest[:16], version=4)}.json", dump_json(made, indent=1) + "\n"


_SHARE = re.compile(
    r"(\w+_)?acc(_norm|_bytes|_mutual_info)?|(\w+_)?match(@\d+)?|em|f1(_score)?|mc[12]|pass@\d+|pass_at_\d+"
)
"""Metrics between 0 and 1, of which more is better."""

_FORMATS: dict[str, Callable[[Cohort, str], Iterator[tuple[str, str]]]] = {
    "every_eval_ever": _every_eval_ever,
    "csv": _csv,
}


def evaluation_log(table: Table, row: CohortRow, organization: str) -> dict[str, Any]:
    """A run as every_eval_ever's `EvaluationLog`."""
    run, model = row.run, hub_id(row.model)
    when = f"{datetime.fromisoformat(run.timestamp).timestamp():.0f}"
    about = {
        **({"base_model": run.base_model, "adapter": run.adapter} if run.adapter else {}),
        **{name: value for name in ("digest", "tokenizer", "method") if (value := str(getattr(run, name)))},
    }
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{run.suite}/{model}/{when}",
        "evaluation_timestamp": when,
        "retrieved_timestamp": f"{time.time():.0f}",
        "source_metadata": {
            "source_name": "CLaaS benchmark runs",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": run.harness.replace("-", "_"), "version": run.lm_eval_version or "unknown"},
        "model_info": {
            "name": row.model,
            "id": model,
            "developer": model.partition("/")[0],
            "additional_details": {"deployment_type": "self_deployed", "model_availability": "unknown", **about},
        },
        "evaluation_results": list(_results(table, row, when)),
    }


def _results(table: Table, row: CohortRow, when: str) -> Iterator[dict[str, Any]]:
    run = row.run
    for key, value in run.metrics.items():
        task, metric = _task_of(run, key)
        name, _, used = metric.partition(",")
        if _SHARE.fullmatch(name) is None:
            continue
        asked, cell = table.tasks[task], row.cells.get(task)
        how = {
            "num_fewshot": asked.num_fewshot,
            "limit": asked.limit,
            "task_version": asked.version,
            "apply_chat_template": run.apply_chat_template,
            **run.settings,
        }
        yield {
            "evaluation_name": task if used in ("", "none") else f"{task}/{used}",
            "source_data": _source(task, asked.data, run.n_samples.get(task)),
            "evaluation_timestamp": when,
            "metric_config": {
                "evaluation_description": metric,
                "lower_is_better": False,
                "score_type": "continuous",
                "min_score": 0.0,
                "max_score": 1.0,
            },
            "score_details": {"score": value, "uncertainty": _uncertainty(cell, metric, run.n_samples.get(task))},
            "generation_config": {"additional_details": {key: dump_json(each) for key, each in how.items()}},
        }


def _source(task: str, data: TaskData | None, n: int | None) -> dict[str, Any]:
    """Rows of somebody's own are not the data set whose form they have, and are not said to be."""
    if data is None or data.fixture or re.fullmatch(r"[\w.-]+(/[\w.-]+)?", data.path) is None:
        fixture = {"fixture": "true"} if data is not None and data.fixture else {}
        about = {"path": "" if data is None else data.path, **fixture}
        return {"dataset_name": task, "source_type": "other", "additional_details": about}
    about = {name: str(value) for name in ("sha256", "part") if (value := getattr(data, name))}
    found: dict[str, Any] = {"dataset_name": task, "source_type": "hf_dataset", "hf_repo": data.path}
    return {**found, **({} if n is None else {"samples_number": n}), "additional_details": about}


def _uncertainty(cell: Cell | None, metric: str, n: int | None) -> dict[str, Any]:
    counted: dict[str, Any] = {} if n is None else {"num_samples": n}
    if cell is None or cell.metric != metric or cell.interval is None:
        return counted
    ends = {"lower": cell.interval.low, "upper": cell.interval.high}
    return {**counted, "confidence_interval": {**ends, "confidence_level": CONFIDENCE}}


def _task_of(run: BenchmarkRun, key: str) -> tuple[str, str]:
    """A key of the flat metrics taken apart; a task's name may hold the slash that ends it."""
    task = max((task for task in run.limits if key.startswith(f"{task}/")), key=len, default=key.partition("/")[0])
    return task, key.removeprefix(f"{task}/")


def _unbounded(run: BenchmarkRun) -> list[str]:
    return [key for key in run.metrics if _SHARE.fullmatch(_task_of(run, key)[1].partition(",")[0]) is None]


def _portable(name: str) -> str:
    """A folder's name on every system."""
    return re.sub(r"[^\w.,=@+-]+", "-", name).strip(". ") or "unnamed"


if __name__ == "__main__":
    sys.exit(main())
