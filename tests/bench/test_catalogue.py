"""What can be run by name."""

from typing import Any

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
    "changed",
    [
        {"fewshot_as_multiturn": True},
        {"system_instruction": "Be brief."},
        {"gen_kwargs": {"max_gen_toks": 8}},
        {"seed": 1},
        {"include_path": "."},
    ],
    ids=str,
)
@pytest.mark.parametrize("suite", [None, "standard", "smoke"])
def test_nothing_changes_how_a_suite_is_asked(suite: str | None, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(changed))} can be set with tasks only"):
        BenchConfig(suite=suite, **changed)
    BenchConfig(suite="quick", **changed)
    BenchConfig(tasks=["mmlu"], **changed)


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
        ({"include_path": "/nowhere/at/all"}, "include_path: the folder '/nowhere/at/all' not found"),
        (
            {"gen_kwargs": {"top_p": 0.5}, "tasks": ["ifeval"]},
            "gen_kwargs: unknown 'top_p'; known: until, max_gen_toks",
        ),
        ({"gen_kwargs": {"temperature": 0.7}, "tasks": ["ifeval"]}, "temperature=0.7 draws answers at random"),
        ({"gen_kwargs": {"do_sample": True}, "tasks": ["ifeval"]}, "do_sample=True draws answers at random"),
        (
            {"gen_kwargs": {"max_gen_toks": 0}, "tasks": ["ifeval"]},
            "max_gen_toks must be a whole number above 0, got 0",
        ),
        ({"gen_kwargs": {"until": [1]}, "tasks": ["ifeval"]}, r"until must be a text or texts, got \[1\]"),
        ({"fewshot_as_multiturn": True, "apply_chat_template": False, "tasks": ["mmlu"]}, "needs a chat"),
        ({"seed": -1, "tasks": ["mmlu"]}, "seed must be >= 0, got -1"),
        ({"datasets_dir": "/nowhere/at/all"}, "datasets_dir: the folder '/nowhere/at/all' not found"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        BenchConfig(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
