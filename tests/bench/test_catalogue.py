"""What can be run by name."""

import pytest

from claas.bench.catalogue import Entry, catalogue, chosen
from claas.bench.settings import BenchConfig
from claas.core.errors import InvalidInput


def names(suite: str | None, *tasks: str) -> list[str]:
    return [entry.task for entry in chosen(suite, tasks, limit=None, num_fewshot=None).entries]


def test_the_standard_suite_is_four_tasks_with_fixed_shots_and_limits() -> None:
    assert chosen(None, [], limit=None, num_fewshot=None).suite == "standard"
    assert chosen("standard", [], limit=None, num_fewshot=None).entries == (
        Entry(task="mmlu", num_fewshot=5, limit=1000),
        Entry(task="gsm8k", num_fewshot=8),
        Entry(task="truthfulqa_mc2", num_fewshot=0),
        Entry(task="ifeval", num_fewshot=0),
    )


@pytest.mark.parametrize("changed", [{"limit": 10}, {"num_fewshot": 0}])
def test_nothing_changes_the_shots_and_limits_of_a_suite(changed: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="so that its rows can be compared"):
        chosen("standard", [], **{"limit": None, "num_fewshot": None, **changed})


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("core", ["mmlu", "gsm8k", "hellaswag", "arc_challenge", "winogrande", "truthfulqa_mc2"]),
        ("reasoning", ["gsm8k", "hendrycks_math", "arc_challenge", "bbh"]),
        ("code", ["humaneval", "mbpp"]),
        ("instruction_following", ["ifeval"]),
        ("knowledge", ["mmlu", "mmlu_pro", "agieval"]),
        ("quick", ["hellaswag", "arc_easy", "arc_challenge", "winogrande", "piqa", "boolq"]),
    ],
)
def test_a_group_is_its_tasks(group: str, members: list[str]) -> None:
    assert names(group) == names(None, group) == members


def test_a_task_in_two_groups_is_run_once() -> None:
    assert names(None, "core", "mmlu") == names("core")
    assert names(None, "math", "hendrycks_math", "reasoning") == ["hendrycks_math", "gsm8k", "arc_challenge", "bbh"]


def test_limit_and_shots_are_those_of_every_task_that_is_no_suites() -> None:
    entries = chosen(None, ["core", "mmlu_pro_law"], limit=50, num_fewshot=3).entries
    assert {(entry.limit, entry.num_fewshot) for entry in entries} == {(50, 3)}


def test_what_a_group_leaves_out_is_said_and_what_is_named_is_refused() -> None:
    (said,) = chosen("instruction_following", [], limit=None, num_fewshot=None).left_out
    assert said.startswith("mt_bench is not run: its answers are compared by a judge")
    for tasks in (["mt_bench"], ["gsm8k", "mt_bench"]):
        with pytest.raises(InvalidInput, match="mt_bench is not run: its answers are compared by a judge"):
            chosen(None, tasks, limit=None, num_fewshot=None)


def test_an_unknown_suite_is_told_with_those_like_it() -> None:
    with pytest.raises(InvalidInput, match=r"unknown suite 'standart'; did you mean standard\?"):
        chosen("standart", [], limit=None, num_fewshot=None)
    with pytest.raises(InvalidInput, match="smoke is a suite, not a task: give suite=smoke"):
        chosen(None, ["smoke"], limit=None, num_fewshot=None)


def test_what_is_listed_is_what_can_be_named() -> None:
    listed = "\n".join(catalogue().lines())
    for name in (*catalogue().suites, *catalogue().groups, *catalogue().tasks, *catalogue().not_run):
        assert name in listed
    for suite in (*catalogue().suites, *catalogue().groups):
        assert set(names(suite)) <= set(catalogue().tasks)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"limit": 0}, "limit must be >= 1, got 0"),
        ({"num_fewshot": -1}, "num_fewshot must be >= 0, got -1"),
        ({"suite": "core", "tasks": ["mmlu"]}, "give suite=core or tasks, not both"),
        ({"include_base": False}, "include_base=false leaves no model"),
        ({"adapters": ["a@1", "a@1"]}, "adapters must be distinct"),
        ({"name": "../x"}, "invalid alias"),
        ({"datasets_dir": "/nowhere/at/all"}, "datasets_dir: the folder '/nowhere/at/all' not found"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        BenchConfig(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
