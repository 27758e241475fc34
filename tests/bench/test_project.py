"""From lm-eval's dictionary to our records, without lm-eval."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from claas.bench import run_lm_eval
from claas.bench.project import flat_metrics, items, merged, task_result
from claas.core.errors import InvalidInput, MissingExtra
from claas.results.benchmarks import AnsweredBy

GSM8K: dict[str, Any] = {
    "results": {
        "gsm8k": {
            "name": "gsm8k",
            "alias": "gsm8k",
            "sample_len": 50,
            "exact_match,strict-match": 0.25,
            "exact_match_stderr,strict-match": "N/A",
            "exact_match,flexible-extract": 0.5,
            "exact_match_stderr,flexible-extract": 0.07,
        }
    },
    "n-samples": {"gsm8k": {"original": 1319, "effective": 50}},
}
MMLU: dict[str, Any] = {
    "results": {
        "mmlu": {"acc,none": 0.6, "acc_stderr,none": 0.02, "alias": "mmlu"},
        "mmlu_anatomy": {"acc,none": 0.7},
        "mmlu_virology": {"acc,none": 0.5},
    },
    "n-samples": {
        "mmlu_anatomy": {"original": 135, "effective": 20},
        "mmlu_virology": {"original": 166, "effective": 20},
    },
}


def test_the_result_has_exactly_the_keys_that_are_documented() -> None:
    result = run_lm_eval("some/model", ["gsm8k", "mmlu"], runner=answering(GSM8K, MMLU), limit=50)
    assert result.model_dump() == {
        "model_name": "some/model",
        "tasks": ["gsm8k", "mmlu"],
        "task_results": [
            {
                "task": "gsm8k",
                "primary_metric": "exact_match",
                "value": 0.5,
                "n_samples": 50,
                "all_metrics": {"exact_match,strict-match": 0.25, "exact_match": 0.5, "exact_match_stderr": 0.07},
                "error": None,
            },
            {
                "task": "mmlu",
                "primary_metric": "acc",
                "value": 0.6,
                "n_samples": 40,
                "all_metrics": {"acc": 0.6, "acc_stderr": 0.02},
                "error": None,
            },
        ],
        "n_tasks_completed": 2,
        "n_tasks_failed": 0,
        "duration_seconds": result.duration_seconds,
        "backend": "wire",
    }
    assert result.average_score() == pytest.approx(0.55)


def test_a_failed_task_is_an_error_and_the_others_go_on() -> None:
    result = run_lm_eval("some/model", ["hellaswag", "gsm8k"], runner=answering(GSM8K))
    assert [(each.value, each.error) for each in result.task_results] == [(None, "hellaswag is broken"), (0.5, None)]
    assert (result.n_tasks_completed, result.n_tasks_failed) == (1, 1)
    assert result.average_score() == 0.5
    with pytest.raises(InvalidInput, match="no task of some/model was completed, so there is no average score"):
        run_lm_eval("some/model", ["hellaswag"], runner=answering()).average_score()


def test_the_runner_is_told_what_was_asked_each_task_once() -> None:
    asked: list[Mapping[str, Any]] = []

    def runner(**settings: Any) -> Mapping[str, Any]:
        asked.append(settings)
        return {"results": {settings["tasks"][0]: {"acc,none": 1.0}}}

    run_lm_eval("some/model", ["quick", "piqa"], runner=runner, limit=3, num_fewshot=2)
    assert [each["tasks"] for each in asked] == [[name] for name in QUICK]
    assert {(each["model"], each["limit"], each["num_fewshot"]) for each in asked} == {("some/model", 3, 2)}


QUICK = ["hellaswag", "arc_easy", "arc_challenge", "winogrande", "piqa", "boolq"]


def test_without_lm_eval_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_lm_eval(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("claas.bench.scoring.import_module", without_lm_eval)
    with pytest.raises(
        MissingExtra, match=r"^lm-eval is not installed; install it with: pip install 'claas\[bench\]'$"
    ):
        run_lm_eval("claas-tiny", ["gsm8k"])


def test_of_a_task_that_is_not_listed_a_common_metric_is_reported_first() -> None:
    raw = {"results": {"own": {"acc_norm,none": 0.2, "acc,none": 0.1}}, "n-samples": {"own": {"effective": 4}}}
    assert (task_result(raw, "own", "own", None).primary_metric, task_result(raw, "own", "own", None).value) == (
        "acc",
        0.1,
    )
    with pytest.raises(InvalidInput, match="lm-eval reports no number of own; name the tasks inside it one by one"):
        task_result({"results": {"own": {"alias": "own"}}}, "own", "own", None)


def test_a_row_has_numbers_only_and_no_standard_errors() -> None:
    assert flat_metrics(GSM8K, "gsm8k") == {"exact_match,flexible-extract": 0.5, "exact_match,strict-match": 0.25}
    broken = {"results": {"own": {"f1,none": float("nan"), "acc,none": 1, "bleu,none": "N/A", "is,none": True}}}
    assert flat_metrics(broken, "own") == {"acc,none": 1.0}


def test_every_item_is_kept_with_what_pairs_it_and_the_weights_that_answered() -> None:
    row = {
        **{"doc_id": 3, "filter": "none", "doc_hash": "d", "prompt_hash": "p", "target_hash": "t", "target": 1},
        **{"arguments": [("Q", " A"), ("Q", " B")], "resps": [[(-1.5, False)], [(-0.5, True)]]},
        **{"filtered_resps": [(-1.5, False), (-0.5, True)], "metrics": ["acc", "text"], "acc": 1.0, "text": ("a", "b")},
    }
    (item,) = items({"samples": {"own": [row]}}, AnsweredBy(name="eval-concise@4", digest="abc"))
    assert (item.task, item.filter, item.doc_id, item.scores) == ("own", "none", 3, {"acc": 1.0})
    assert item.resps == [[[-1.5, False]], [[-0.5, True]]]
    assert item.weights.digest == "abc"


def test_what_lm_eval_said_task_by_task_reads_as_if_it_had_been_asked_at_once() -> None:
    both = merged(merged({}, {**GSM8K, "samples": {"gsm8k": []}}), {**MMLU, "date": 2.0})
    assert set(both["results"]) == {"gsm8k", "mmlu", "mmlu_anatomy", "mmlu_virology"}
    assert set(both["n-samples"]) == {"gsm8k", "mmlu_anatomy", "mmlu_virology"}
    assert both["date"] == 2.0
    assert "samples" not in both


def answering(*raws: Mapping[str, Any]) -> Any:
    """A runner that returns these, and has no other tasks."""
    known = {name: raw for raw in raws for name in raw["results"]}

    def runner(*, tasks: Sequence[str], **_: Any) -> Mapping[str, Any]:
        (task,) = tasks
        if task not in known:
            raise RuntimeError(f"{task} is broken")
        return known[task]

    return runner
