"""`mode=tinker` in one process and in two, the real SDK talking to a scripted service."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import claas
from claas.core.settings import TrainingConfig
from claas.eval.runner import run_harness
from claas.results.records import StepRecord
from claas.results.settings import EvalConfig, Prices
from tests.eval.small_preferences import small_preferences

if find_spec("tinker") is None:
    pytest.skip("tinker is not installed; install it with: pip install 'claas[tinker]'", allow_module_level=True)

ROOT = Path(claas.__file__).parents[1]
KEY = "tml-secret"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from tests.engines.tinker.words import completion_ids
    from tests.fakes.tinker_service import FakeTinker, tinker_service

    scripted = FakeTinker(["claas-tiny"], answer=completion_ids("Hi."))
    with tinker_service(scripted) as fake:
        monkeypatch.setenv("TINKER_BASE_URL", fake.url)
        monkeypatch.setenv("CLAAS_TINKER_API_KEY", KEY)
        yield fake


def config(folder: Path, **settings: Any) -> EvalConfig:
    chosen = {
        "mode": "tinker",
        "base_model": "claas-tiny",
        "preferences": ["calm"],
        "metrics": ["logprob", "compliance"],
        "num_steps": 2,
        "batch_size": 2,
        "training": TrainingConfig(steps_per_batch=2),
        "plots": False,
        "output_dir": str(folder / "run"),
        "config_dir": str(small_preferences(folder / "mine", "calm")),
        **settings,
    }
    return EvalConfig(**chosen)


def records(folder: Path) -> list[StepRecord]:
    path = folder / "run" / "calm" / "steps.jsonl"
    return [StepRecord.model_validate_json(line) for line in path.read_text().splitlines()]


def holds_key(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and KEY in path.read_text(errors="ignore")]


def test_a_run_in_one_process_says_what_it_trained_and_costs(fake: Any, tmp_path: Path) -> None:
    prices = Prices(sample=2.0, prefill=1.0, train=4.0)
    results = asyncio.run(run_harness(config(tmp_path, prices=prices)))
    assert not results.failures
    assert results.new_steps == 2
    steps = records(tmp_path)
    assert [step.adapter.version for step in steps] == [1, 2]
    from claas.engines.tinker.versions import digest_of

    sampler = [path for path in fake.checkpoints if "/sampler_weights/" in path]
    assert [step.adapter.digest for step in steps] == [digest_of(path) for path in sampler][1:]
    for step in steps:
        assert step.sdpo_metrics["batch_size"] == 2
        assert step.tokens["trained"] == step.sdpo_metrics["trained_tokens"] > 0
        assert step.tokens["update_prefill"] == step.sdpo_metrics["prefill_tokens"] > 0
    total = results.summary.tokens
    expected = 2 * total["completion"] + total["prompt"] + total["scored"] + total["update_prefill"]
    assert results.summary.cost == pytest.approx((expected + 4 * total["trained"]) / 1e6)
    assert holds_key(tmp_path) == []


def test_a_run_that_failed_at_the_service_continues(fake: Any, tmp_path: Path) -> None:
    asyncio.run(run_harness(config(tmp_path, num_steps=1)))
    fake.broken = "the node was lost"
    failed = asyncio.run(run_harness(config(tmp_path, retry_for_s=0.5)))
    assert failed.new_steps == 0
    assert "the node was lost" in str(failed.summary.preferences["calm"].failure)
    fake.broken = None
    ended = asyncio.run(run_harness(config(tmp_path)))
    assert not ended.failures
    assert ended.new_steps == 1
    assert [step.adapter.version for step in records(tmp_path)] == [1, 2]
    assert max(fake.checkpoints.values()) == 4, "two updates of two steps, none of them twice"


def test_a_run_in_two_processes(fake: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "claas.api", "--config-name", "tinker", "base_model=claas-tiny", "port=0"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        results = asyncio.run(run_harness(config(tmp_path, claas_url=address, num_steps=1)))
        assert results.new_steps == 1
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0
    stored = [json.loads(path.read_text()) for path in (tmp_path / "data" / "store" / "tinker").glob("*/0*.json")]
    assert sorted(version["version"] for version in stored) == [0, 1]
    assert holds_key(tmp_path) == []
