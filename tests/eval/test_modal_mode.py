"""`mode=modal` in one process and in two: Modal's own package, talking to a service of its wire that runs our app."""

import asyncio
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
from claas.results.settings import EvalConfig
from tests.eval.small_preferences import small_preferences

if find_spec("modal") is None or find_spec("torch") is None:
    pytest.skip("modal or torch is not installed; pip install 'claas[modal,local]'", allow_module_level=True)

ROOT = Path(claas.__file__).parents[1]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    from tests.fakes.modal_service import running_modal

    with running_modal(monkeypatch, tmp_path / "volume") as fake:
        yield fake


def config(folder: Path, **settings: Any) -> EvalConfig:
    chosen = {
        "mode": "modal",
        "base_model": "claas-tiny",
        "preferences": ["calm"],
        "metrics": ["logprob", "compliance"],
        "num_steps": 2,
        "batch_size": 2,
        "max_tokens": 24,
        "training": TrainingConfig(steps_per_batch=1),
        "plots": False,
        "output_dir": str(folder / "run"),
        "config_dir": str(small_preferences(folder / "mine", "calm")),
        **settings,
    }
    return EvalConfig(**chosen)


def measured(folder: Path) -> list[dict[str, Any]]:
    """What was sampled, trained and measured at each step, without what the clock and chance decide."""
    path = folder / "run" / "calm" / "steps.jsonl"
    kept = {"step", "adapter", "prompts", "responses", "sdpo_metrics", "eval"}
    return [StepRecord.model_validate_json(line).model_dump(include=kept) for line in path.read_text().splitlines()]


def test_a_run_in_one_process_stops_resumes_and_is_the_run_on_this_machine(fake: Any, tmp_path: Path) -> None:
    asyncio.run(run_harness(config(tmp_path / "modal", num_steps=1)))
    asyncio.run(fake.stop())
    assert asyncio.run(run_harness(config(tmp_path / "modal"))).new_steps == 1
    assert fake.commits == 3, "version 0 and two updates"
    asyncio.run(run_harness(config(tmp_path / "local", mode="local")))
    assert measured(tmp_path / "modal") == measured(tmp_path / "local")


def test_a_run_in_two_processes(fake: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "claas.api", "--config-name", "modal", "base_model=claas-tiny", "port=0"]
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
