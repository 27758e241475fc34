"""Programs that a model wrote are run in the sandbox, by lm-eval's own rule, and what became of each is on record."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from claas.bench.catalogue import chosen
from claas.bench.settings import BenchConfig
from claas.core.errors import InvalidInput
from claas.results.benchmarks import BenchmarkFiles

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.bench

HUB = Path(__file__).parents[1] / "benchmarks" / "hub"


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HUB / path).read_text().splitlines()]


HUMANEVAL = [row["canonical_solution"] for row in rows("openai/openai_humaneval/openai_humaneval/test.jsonl")]
MBPP = [row["code"] for row in rows("google-research-datasets/mbpp/full/test.jsonl")]
RIGHT = {
    "humaneval": HUMANEVAL,
    "humaneval_instruct": [f"{body}```\nThat is all." for body in HUMANEVAL],
    "mbpp": MBPP,
    "mbpp_instruct": [f"\n{code}\n```" for code in MBPP],
}


def scored(task: str, answers: list[str], folder: Path, hub: Path = HUB) -> dict[str, Any]:
    """What lm-eval finds of these answers, one for each row."""
    from lm_eval.api.model import LM

    from claas.bench.scoring import evaluate
    from claas.bench.suite import prepare

    class Scripted(LM):
        def generate_until(self, requests: list[Any]) -> list[str]:
            return [answers[request.doc_id] for request in requests]

        def loglikelihood(self, requests: Any) -> Any:
            raise AssertionError

        loglikelihood_rolling = loglikelihood

    suite = prepare(chosen(None, [task], limit=None, num_fewshot=None).entries, hub)
    group = suite.entries[0].group
    found = evaluate(data="", cache=folder / task, model=Scripted(), tasks=[group], task_manager=suite.manager)
    return {"results": found["results"][task], "samples": found["samples"][task]}


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("humaneval", "pass@1,create_test"),
        ("humaneval_instruct", "pass@1,create_test"),
        ("mbpp", "pass_at_1,none"),
        ("mbpp_instruct", "pass_at_1,extract_code"),
    ],
)
def test_right_programs_pass_under_lm_evals_own_names(task: str, metric: str, tmp_path: Path) -> None:
    found = scored(task, RIGHT[task], tmp_path)
    assert found["results"][metric] == 1.0
    assert [sample["outcome"] for sample in found["samples"]] == ["passed"] * 4


def test_of_each_program_that_fails_is_said_why(tmp_path: Path) -> None:
    answers = ["    return 1\n", "    while True: pass\n", "    return 'x' * 10**10\n", "    return (\n"]
    found = scored("humaneval", answers, tmp_path)
    assert found["results"]["pass@1,create_test"] == 0.0
    assert [sample["outcome"] for sample in found["samples"]] == [
        "AssertionError",
        "out of time",
        "MemoryError",
        "SyntaxError: '(' was never closed (<answer>, line 6)",
    ]
    assert set(found["results"]["outcome,create_test"]) == {
        "AssertionError", "out of time", "MemoryError", "SyntaxError"
    }  # fmt: skip


def test_a_program_leaves_nothing_behind_and_does_not_end_the_run(tmp_path: Path) -> None:
    escaped = tmp_path / "escaped"
    answers = [
        f"    open({str(escaped)!r}, 'w').write('x')\n",
        "    import os\n    os.kill(os.getppid(), 9)\n",
        "    import os\n    while True: os.fork()\n",
        "    import socket\n    socket.socket()\n",
    ]
    found = scored("humaneval", answers, tmp_path)
    assert [sample["outcome"].partition(":")[0] for sample in found["samples"]] == ["PermissionError"] * 4
    assert not escaped.exists()


def test_only_what_runs_the_programs_is_not_lm_evals(tmp_path: Path) -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    from claas.bench.suite import _TASKS, prepare

    manager = prepare(chosen(None, ["code"], limit=None, num_fewshot=None).entries, None).manager
    assert "evaluate" not in sys.modules or hasattr(sys.modules["evaluate"], "EvaluationModule")
    for task in ("humaneval", "mbpp"):
        ours, stock = manager.task_index[task].cfg, load_yaml(_TASKS / task / f"{task}.yaml", resolve_func=False)
        assert ours.keys() - stock.keys() == {"class", "process_results"}
        for key in stock.keys() - {"metric_list", "unsafe_code", "filter_list", "fewshot_config"}:
            assert ours[key] == stock[key]


def run(folder: Path, *tasks: str, said: list[str] | None = None) -> Any:
    from claas.bench.run import run_bench

    config = BenchConfig(
        tasks=list(tasks), store_dir=str(folder / "store"), output_dir=str(folder), datasets_dir=str(HUB), limit=1
    )
    tell = (said if said is not None else []).append
    return asyncio.run(run_bench(config, chosen(None, tasks, limit=1, num_fewshot=None), tell))


def test_the_embedded_model_is_asked_for_programs(tmp_path: Path) -> None:
    said: list[str] = []
    (result,) = run(tmp_path, "code", "humaneval_instruct", "mbpp_instruct", said=said)
    assert [line.partition(" is asked as in a chat, where ")[2] for line in said[:2]] == [
        "humaneval_instruct is the one that is written for it",
        "mbpp_instruct is the one that is written for it",
    ]
    assert [task.error for task in result.task_results] == [None] * 4
    (row,) = BenchmarkFiles(tmp_path).read_runs().runs
    assert row.metrics["humaneval/pass@1,create_test"] == row.metrics["mbpp/pass_at_1,none"] == 0.0
    (item,) = BenchmarkFiles(tmp_path).read_samples("claas-tiny", "mbpp")
    assert item.scores == {"pass_at_1": 0.0}
    assert item.outcome not in (None, "passed")


def test_a_sandbox_that_breaks_down_is_an_error_of_the_task_and_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claas.eval.metrics.sandbox import SandboxError

    async def broken(source: str) -> None:
        raise SandboxError("cannot start the sandbox process: no room")

    monkeypatch.setattr("claas.bench.code_tasks.run_program", broken)
    (result,) = run(tmp_path, "mbpp")
    assert result.task_results[0].error == "cannot start the sandbox process: no room"
    assert BenchmarkFiles(tmp_path).read_runs().runs == []


@pytest.mark.parametrize("lacks", [{"files": False}, {"network": False, "syscalls": False}])
def test_where_nothing_holds_a_program_none_is_run(lacks: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    from claas.bench.suite import prepare

    async def held() -> dict[str, bool]:
        return {"network": True, "files": True, "syscalls": True} | lacks

    monkeypatch.setattr("claas.bench.code_tasks.confinement", held)
    with pytest.raises(InvalidInput, match=r"mbpp runs what the model writes, .* Linux 5.13 or later with Landlock"):
        prepare(chosen(None, ["mbpp"], limit=None, num_fewshot=None).entries, HUB)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"process_results": "by itself"}, "own is not run: its own code would run what the model writes"),
        ({"repeats": 64}, "own draws 64 answers at random; only a greedy one is asked for"),
    ],
)
def test_a_task_of_another_kind_is_refused(settings: dict[str, object], said: str) -> None:
    from claas.bench.code_tasks import run_in_sandbox

    with pytest.raises(InvalidInput, match=said):
        run_in_sandbox(None, [{"task": "own", **settings}])  # type: ignore[arg-type]
