"""The items of one task of a benchmark run: what turned comes first, answers stand side by side, nothing is run."""

from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import NotFound
from claas.dashboard.benchmark_item_page import ItemFilter, ItemQuery
from claas.dashboard.cohort_page import CohortAddresses, benchmark_item_page
from claas.results.benchmarks import BenchmarkFiles
from tests.bench.benchmark_folders import item
from tests.dashboard.page_reader import Page, rows
from tests.dashboard.test_cohort import HALF, write

NASTY = "</script><script>alert(1)</script>\"'{{ 7 * 7 }}\x00"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A base with 50 of 100 right, and an adapter that lost items 0 and 1 and gained item 99."""
    write(tmp_path, "base", {"mmlu": HALF})
    write(tmp_path, "sft", {"mmlu": [0.0, 0.0, *HALF[2:99], 1.0]}, when=2)
    return tmp_path


def page(root: Path, query: ItemQuery | None = None, run: str = "sft", task: str = "mmlu") -> Page:
    read = Page(benchmark_item_page(root, CohortAddresses(), run, task, query or ItemQuery()))
    assert read.strange() == []
    assert read.barriers() == []
    return read


def shown(read: Page) -> list[str]:
    """`0: 1 → 0`, from the top."""
    heads = [next(each for each in article.children if each.tag == "header") for article in read.all("article")]
    return [" ".join(head.text.split()).removeprefix("mmlu · ") for head in heads]


def with_answers(root: Path, arguments: list[Any], responses: Any, *, target: str = "0") -> Page:
    """The page of a run of one item."""
    filtered = [each[0] for each in responses]
    for name in ("base", "sft"):
        write(root, name, {"mmlu": [1.0]}, when=5)
        fields: dict[str, object] = {"arguments": arguments, "resps": responses, "filtered_resps": filtered}
        items = [item("mmlu", 0, 1.0, f"digest-{name}", target=target, **fields)]
        BenchmarkFiles(root).write_samples(name, "mmlu", items)
    return page(root)


def test_what_turned_from_right_to_wrong_comes_first(root: Path) -> None:
    read = page(root)
    assert shown(read)[:4] == ["0 1 → 0", "1 1 → 0", "99 0 → 1", "50 0 both"]
    assert "2 turned from right to wrong, 1 from wrong to right" in read.text
    assert [each.text for each in read.all("li") if each.inside("nav") and "right" in each.text] == [
        "right → wrong 2",
        "wrong → right 1",
    ]


@pytest.mark.parametrize(
    ("query", "first", "count"),
    [
        (ItemQuery(ItemFilter.FELL), "0 1 → 0", 2),
        (ItemQuery(ItemFilter.ROSE), "99 0 → 1", 1),
        (ItemQuery(ItemFilter.SAME), "50 0 both", 24),
        (ItemQuery(page=5), "46 1 both", 4),
    ],
)
def test_some_of_the_items_and_any_page_of_them_can_be_asked_for(
    root: Path, query: ItemQuery, first: str, count: int
) -> None:
    assert (shown(page(root, query))[0], len(shown(page(root, query)))) == (first, count)


def test_without_a_base_the_wrong_answers_come_first(root: Path) -> None:
    read = page(root, run="base")
    assert shown(read)[:2] == ["50 0", "51 0"]
    assert "100 items, by acc,none." in read.text


@pytest.mark.parametrize(
    ("run", "task", "number", "why"),
    [
        ("nobody", "mmlu", 1, "there is no run nobody"),
        ("sft", "gsm8k", 1, "has no task gsm8k; it has mmlu"),
        ("sft", "mmlu", 6, "page=6 is beyond the last page"),
    ],
)
def test_what_is_not_there_is_said(root: Path, run: str, task: str, number: int, why: str) -> None:
    with pytest.raises(NotFound, match=why):
        page(root, ItemQuery(page=number), run, task)


def test_choices_stand_with_each_models_log_probability(tmp_path: Path) -> None:
    read = with_answers(
        tmp_path, [["Sky?", " green"], ["Sky?", " blue"]], [[[-3.25, False]], [[-1.5, True]]], target="1"
    )
    assert rows(read.one("table", class_="choices-of")) == [
        ["0", "green", "−3.25", "−3.25"],
        ["1", "blue target", "−1.50 the likeliest", "−1.50 the likeliest"],
    ]
    assert "Sky?" in read.text


def test_choices_that_differ_before_a_common_ending_are_shown_so(tmp_path: Path) -> None:
    read = with_answers(tmp_path, [["Ann", " ran."], ["Bob", " ran."]], [[[-3.0, False]], [[-1.0, True]]])
    assert [cells[1] for cells in rows(read.one("table", class_="choices-of"))] == ["Ann target", "Bob"]
    assert "… ran." in read.text


def test_a_text_stands_with_what_was_read_of_it(tmp_path: Path) -> None:
    write(tmp_path, "base", {"gsm8k": [1.0]})
    asked: dict[str, object] = {"arguments": [["3 + 4?", {"until": []}]], "resps": [["It is 7."]]}
    items = [item("gsm8k", 0, 1.0, "digest-base", target="#### 7", filtered_resps=["7"], **asked)]
    BenchmarkFiles(tmp_path).write_samples("base", "gsm8k", items)
    text = page(tmp_path, run="base", task="gsm8k").text
    assert "3 + 4?" in text
    assert "It is 7. read as 7 target #### 7" in text


def test_of_a_long_prompt_the_end_is_shown_and_the_whole_can_be_opened(tmp_path: Path) -> None:
    prompt = "begin " + "\n".join(f"line {number}" for number in range(200))
    read = with_answers(tmp_path, [[prompt, " a"]], [[[-1.0, True]]])
    asked = read.all("div", class_="asked-for")[0].text
    assert asked.startswith("… line 1")
    assert asked.endswith("line 199")
    assert f"The whole prompt of mmlu · 0, {len(prompt)} characters" in read.text
    assert "begin line 0" in read.text


def test_what_a_model_says_is_only_text(tmp_path: Path) -> None:
    read = with_answers(tmp_path, [[NASTY, {"until": [NASTY]}]], [[NASTY]], target=NASTY)
    assert read.text.count("</script><script>alert(1)</script>\"'{{ 7 * 7 }}␀") == 4  # asked, said twice, the target
    assert read.all("script") == []
