"""The cohort: which runs stand in one table, what is paired with what, and why some is not."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from claas.core.errors import InvalidInput
from claas.dashboard.cohort import Cohort, CohortRow, read_cohort
from claas.dashboard.cohort_csv import cohort_csv
from claas.dashboard.cohort_page import CohortAddresses, CohortQuery, cohort_file, cohort_page
from claas.results.benchmarks import BenchmarkFiles, BenchmarkItem, TaskData
from tests.bench.benchmark_folders import Scores, item, row, summary, write_run
from tests.dashboard.page_reader import Page, rows

HALF = [1.0] * 50 + [0.0] * 50
WORSE = [0.0] * 30 + HALF[30:]


def write(root: Path, name: str, tasks: Scores, when: int = 1, **changes: object) -> Path:
    """A run whose numbers are the means of its items; `base` is of the base model."""
    mine: dict[str, object] = {"adapter": None} if name.startswith("base") else {}
    means = {task: sum(map(float, map(_one, scores))) / len(scores) for task, scores in tasks.items()}
    metrics = {f"{task}/acc,none": mean for task, mean in means.items()}
    fields = {"metrics": metrics, "timestamp": f"2026-01-{when:02d}T00:00:00.000+00:00", **mine, **changes}
    folder = write_run(root, name, tasks, **fields)
    told = summary(name, tasks)
    results = [
        result.model_copy(update={"value": means[result.task], "all_metrics": {"acc": means[result.task]}})
        for result in told.task_results
    ]
    BenchmarkFiles(root).write_summary(name, told.model_copy(update={"task_results": results}))
    return folder


def _one(score: float | list[float]) -> float:
    return sum(score) / len(score) if isinstance(score, list) else score


def rewrite(root: Path, name: str, task: str, items: Sequence[BenchmarkItem]) -> None:
    BenchmarkFiles(root).write_samples(name, task, list(items))


def found(cohort: Cohort, name: str) -> CohortRow:
    it = cohort.row(name)
    assert it is not None
    return it


def page(root: Path, query: CohortQuery | None = None) -> Page:
    read = Page(cohort_page(root, CohortAddresses(), query or CohortQuery()))
    assert read.strange() == []
    assert read.barriers() == []
    return read


def models(read: Page) -> list[list[str]]:
    """The models of each table, from the top."""
    return [[cells[0] for cells in rows(table)] for table in read.all("table", class_="scores")]


def test_a_difference_is_that_of_the_same_items(tmp_path: Path) -> None:
    write(tmp_path, "base", {"mmlu": HALF, "gsm8k": HALF})
    write(tmp_path, "sft", {"mmlu": WORSE, "gsm8k": HALF}, when=2)
    (table,) = read_cohort(tmp_path).tables
    assert [each.run.name for each in table.rows] == ["sft", "base"]
    cell = table.rows[0].cells["mmlu"]
    assert cell is not None
    assert cell.difference is not None
    assert (cell.value, cell.difference.difference) == (pytest.approx(0.2), pytest.approx(-0.3))
    assert (cell.difference.lost, cell.difference.gained) == (30, 0)
    middle, spread = -30 / 102, (30.5 / 102 + 0.5 / 102 - (30 / 102) ** 2) ** 0.5  # half an item more in each cell
    half = 1.959964 * spread / 102**0.5
    assert cell.difference.ci == (pytest.approx(middle - half, abs=1e-5), pytest.approx(middle + half, abs=1e-5))
    assert (cell.interval and cell.interval.low, cell.interval and cell.interval.high) == (
        pytest.approx(0.1334, abs=1e-4),
        pytest.approx(0.2888, abs=1e-4),
    )
    assert table.rows[0].p_holm["mmlu"] == pytest.approx(2 * cell.difference.p)
    assert (table.rows[0].direction("mmlu"), table.rows[0].direction("gsm8k")) == (-1, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"mmlu": 100}},
        {"num_fewshot": {"mmlu": 0}},
        {"task_versions": {"mmlu": "2"}},
        {"datasets": {"mmlu": TaskData(path="owner/mmlu", fixture=True)}},
        {"apply_chat_template": False},
        {"lm_eval_version": "0.4.12"},
        {"harness": "lighteval"},
        {"settings": {"gen_kwargs": "temperature=1"}},
        {"smoke": True},
    ],
)
def test_what_was_asked_otherwise_stands_apart(tmp_path: Path, changes: dict[str, object]) -> None:
    write(tmp_path, "base", {"mmlu": HALF})
    write(tmp_path, "sft", {"mmlu": WORSE}, when=2, **changes)
    cohort = read_cohort(tmp_path)
    assert [[each.run.name for each in table.rows] for table in cohort.tables] == [["sft"], ["base"]]
    assert found(cohort, "sft").p_holm == {}
    text = page(tmp_path).text
    assert "in 2 tables: only what stands in one table was asked the same" in text
    assert "No run of claas-tiny itself was asked this" in text


def test_a_run_of_some_of_the_tasks_stands_beside_those_of_all(tmp_path: Path) -> None:
    write(tmp_path, "sft", {"gsm8k": WORSE})
    write(tmp_path, "base", {"mmlu": HALF, "gsm8k": HALF}, when=2)
    (table,) = read_cohort(tmp_path).tables
    assert list(table.tasks) == ["mmlu", "gsm8k"]
    assert list(found(read_cohort(tmp_path), "sft").p_holm) == ["gsm8k"]
    assert [table.average(each) for each in table.rows] == [0.5, None]


def test_of_one_model_the_newest_run_is_shown_and_the_earlier_ones_can_be_reached(tmp_path: Path) -> None:
    write(tmp_path, "base", {"mmlu": HALF})
    write(tmp_path, "first", {"mmlu": WORSE}, when=2, adapter="sft@1")
    write(tmp_path, "again", {"mmlu": HALF}, when=3, adapter="sft@1")
    assert models(page(tmp_path)) == [["sft@1 on claas-tiny, sdpo", "claas-tiny base"], ["sft@1 on claas-tiny, sdpo"]]
    assert "1 earlier run of the same models" in page(tmp_path).text


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (lambda root: (root / "sft" / "samples.mmlu.jsonl").unlink(), "no items are on record"),
    (lambda root: (root / "base" / "samples.mmlu.jsonl").unlink(), "no items are on record"),
    (lambda root: (root / "sft" / "lm_eval_summary.json").unlink(), "lm_eval_summary.json of sft cannot be read"),
    (lambda root: (root / "sft" / "samples.mmlu.jsonl").write_text("{"), "is damaged at line 1"),
    (lambda root: rewrite(root, "sft", "mmlu", [item("mmlu", 0, 1.0, "another")] * 5), "answers of other weights"),
    (lambda root: rewrite(root, "sft", "mmlu", asked_otherwise()), "item 0 of mmlu was asked in other words"),
    (lambda root: rewrite(root, "sft", "mmlu", asked_otherwise()[1:]), "has 99 of 100 items"),
    (lambda root: rewrite(root, "sft", "mmlu", scored_otherwise()), "is not the mean of the items of mmlu"),
    (lambda root: write(root, "sft", {"mmlu": HALF}, when=3, fingerprint="other"), "were replaced by those of the"),
]


@pytest.mark.parametrize(("spoilt", "why"), SPOILT)
def test_without_pairs_there_is_a_reason_and_no_difference(
    tmp_path: Path, spoilt: Callable[[Path], object], why: str
) -> None:
    write(tmp_path, "base", {"mmlu": HALF})
    write(tmp_path, "sft", {"mmlu": WORSE}, when=2)
    spoilt(tmp_path)
    cohort = read_cohort(tmp_path)
    it = cohort.row("sft", "2026-01-02T00:00:00.000+00:00")
    assert it is not None
    cell = it.cells["mmlu"]
    assert cell is not None
    assert (cell.value, cell.difference) == (0.2, None)
    assert cell.why_not is not None
    assert why in cell.why_not
    assert why in page(tmp_path).text


def scored_otherwise() -> list[BenchmarkItem]:
    return [item("mmlu", place, 1.0, "digest-sft") for place in range(len(WORSE))]


def asked_otherwise() -> list[BenchmarkItem]:
    first, *rest = [item("mmlu", place, score, "digest-sft") for place, score in enumerate(WORSE)]
    return [first.model_copy(update={"prompt_hash": "other"}), *rest]


def test_items_are_read_once(tmp_path: Path) -> None:
    write(tmp_path, "base", {"mmlu": HALF})
    samples = write(tmp_path, "sft", {"mmlu": WORSE}, when=2) / "samples.mmlu.jsonl"
    before = read_cohort(tmp_path).tables
    stamp = samples.stat()
    samples.write_bytes(b"x" * stamp.st_size)
    os.utime(samples, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (tmp_path / "sft" / ".pages" / "samples.mmlu.jsonl.index.json").unlink()
    assert read_cohort(tmp_path).tables == before
    samples.touch()
    assert read_cohort(tmp_path).tables != before


def test_a_page_that_would_take_long_shows_numbers_first_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "base", {"mmlu": HALF})
    write(tmp_path, "sft", {"mmlu": WORSE}, when=2)
    cohort = read_cohort(tmp_path, most_s=-1)
    assert cohort.waiting == 2
    cell = found(cohort, "sft").cells["mmlu"]
    assert cell is not None
    assert (cell.value, cell.difference) == (0.2, None)
    assert read_cohort(tmp_path).waiting == 0


def test_columns_sort_the_rows(tmp_path: Path) -> None:
    write(tmp_path, "base", {"mmlu": HALF, "gsm8k": HALF})
    write(tmp_path, "a", {"mmlu": WORSE, "gsm8k": [1.0] * 100}, when=2)
    write(tmp_path, "b", {"gsm8k": WORSE}, when=3)
    for query, order in (
        (CohortQuery(), "b a claas-tiny"),
        (CohortQuery("when", descending=False), "claas-tiny a b"),
        (CohortQuery("mmlu"), "claas-tiny a b"),
        (CohortQuery("mmlu", descending=False), "a claas-tiny b"),
        (CohortQuery("average"), "a claas-tiny b"),
        (CohortQuery("model", descending=False), "a b claas-tiny"),
    ):
        (shown,) = models(page(tmp_path, query))
        assert [name.split()[0].removesuffix("@1") for name in shown] == order.split()
    with pytest.raises(InvalidInput, match="no such column; there are average, gsm8k, mmlu"):
        page(tmp_path, CohortQuery("hellaswag"))


def test_fixtures_and_smoke_tests_are_marked_wherever_they_are_shown(tmp_path: Path) -> None:
    own = {"mmlu": TaskData(path="owner/mmlu", fixture=True)}
    write(tmp_path, "base", {"mmlu": HALF}, datasets=own, smoke=True)
    text = page(tmp_path).text
    assert "smoke test fixture Fixture: rows of somebody’s own" in text
    (line,) = csv.DictReader(io.StringIO(cohort_csv(read_cohort(tmp_path))))
    assert (line["fixture"], line["smoke"]) == ("True", "True")


def test_what_is_not_complete_is_said(tmp_path: Path) -> None:
    assert "No completed run is in" in page(tmp_path).text
    (tmp_path / "metrics.sft.partial.json").write_text("{")
    (tmp_path / "metrics.base.partial.json").write_text('{"schema_version": 1, "completed": {}}')
    text = page(tmp_path).text
    assert "base is not complete, and not in a table: no task is done" in text
    assert "metrics.sft.partial.json cannot be read" in text


def test_a_half_written_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"runs": [')
    with pytest.raises(InvalidInput, match=r"metrics\.json cannot be read"):
        read_cohort(tmp_path)


def test_names_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(root, "base", {"mmlu": HALF})
    write(root, "sft", {"mmlu": WORSE}, when=2)
    (root / "sft").rename(tmp_path / "sft")
    (root / "sft").symlink_to(tmp_path / "sft")
    outside = row("../sft", {"mmlu": WORSE}, digest="digest-sft", metrics={"mmlu/acc,none": 0.2})
    BenchmarkFiles(root).promote(outside)
    cohort = read_cohort(root)
    for name in ("sft", "../sft"):
        cell = found(cohort, name).cells["mmlu"]
        assert cell is not None
        assert (cell.has_items, cell.difference) == (False, None)


def test_the_csv_has_a_line_for_each_number_and_no_formula(tmp_path: Path) -> None:
    write(tmp_path, "base", {"mmlu": HALF, "gsm8k": HALF})
    write(tmp_path, "sft", {"mmlu": WORSE}, when=2, method="=1+1")
    lines = list(csv.DictReader(io.StringIO(cohort_csv(read_cohort(tmp_path)))))
    assert [(line["run"], line["task"], line["value"]) for line in lines] == [
        ("sft", "mmlu", "0.2"),
        ("base", "mmlu", "0.5"),
        ("base", "gsm8k", "0.5"),
    ]
    assert (lines[0]["method"], lines[0]["base_run"], lines[0]["lost"]) == ("'=1+1", "base", "30")
    assert float(lines[0]["difference"]) == pytest.approx(-0.3)
    assert lines[1]["difference"] == ""


def test_a_file_holds_a_bounded_number_of_items_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, "base", {"mmlu": HALF})
    write(tmp_path, "sft", {"mmlu": WORSE}, when=2)
    read = Page(cohort_file(tmp_path))
    assert read.barriers() == []
    assert "This file holds 40 of 200 items" in read.text
    held = [each.attributes["id"] for each in read.all("script", type="text/plain")]
    assert sorted(link for link in read.links() if link.startswith("#items")) == sorted(f"#{name}" for name in held)
    assert "http" not in "".join(read.links())
    (link,) = read.all("a", download="cohort.csv")
    assert link.attributes["href"].startswith("data:text/csv;base64,")
