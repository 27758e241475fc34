"""The cohort as a CSV file: a line for each task of each run."""

import csv
import io
from collections.abc import Iterator

from claas.core.text import as_no_formula
from claas.dashboard.cohort import Cohort, CohortRow, Table

_COLUMNS = (
    *("table", "run", "base_model", "adapter", "digest", "method", "timestamp", "harness", "harness_version"),
    *("suite", "smoke", "apply_chat_template", "task", "task_version", "num_fewshot", "limit", "dataset", "fixture"),
    *("metric", "value", "ci_low", "ci_high", "n", "base_run", "difference", "difference_ci_low"),
    *("difference_ci_high", "p", "p_holm", "lost", "gained", "no_difference_because"),
)


def cohort_csv(cohort: Cohort) -> str:
    """All tables one after the other, numbered from 1: only what is in the same one was asked the same."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow(_COLUMNS)
    for number, table in enumerate(cohort.tables, start=1):
        lines.writerows(map(as_no_formula, line) for line in _lines(number, table))
    return text.getvalue()


def _lines(number: int, table: Table) -> Iterator[tuple[object, ...]]:
    for row in table.rows:
        run = row.run
        of_run = (
            *(number, run.name, run.base_model, run.adapter, run.digest, run.method, run.timestamp, run.harness),
            *(run.lm_eval_version, run.suite, run.smoke, run.apply_chat_template),
        )
        for task, asked in table.tasks.items():
            data = (asked.data.path, asked.data.fixture) if asked.data else (None, None)
            if (found := row.cells.get(task)) is not None:
                of_task = (task, asked.version, asked.num_fewshot, asked.limit, *data)
                interval = (found.interval.low, found.interval.high) if found.interval else (None, None)
                yield (*of_run, *of_task, found.metric, found.value, *interval, found.n, *_difference(row, task))


def _difference(row: CohortRow, task: str) -> tuple[object, ...]:
    found = row.cells[task]
    if found is None or found.difference is None:
        return (*(None,) * 8, found and found.why_not)
    change, base = found.difference, row.base and row.base.name
    interval = change.ci or (None, None)
    return (base, change.difference, *interval, change.p, row.p_holm[task], change.lost, change.gained, None)
