"""Sweeps by Hydra's launchers and by its sweeper for Optuna: run, shown together, and continued by the same command.

pip install -c constraints.txt -e '.[sweeps]'
"""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from claas.eval.__main__ import main
from tests.eval.live_api import live_api
from tests.eval.small_preferences import small_preferences
from tests.fakes.engine import BASE_MODEL, FakeEngine

pytestmark = pytest.mark.live

SMALL = ["preferences=[calm]", "num_steps=1", "plots=false", "controls=[]", f"base_model={BASE_MODEL}"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[list[str]]:
    """A small sweep that asks a live API, from a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    small_preferences(tmp_path / "mine", "calm")
    with live_api(tmp_path / "server", FakeEngine(tmp_path / "engine")) as url:
        yield ["-m", "--config-dir", "mine", *SMALL, f"claas_url={url}"]


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_launcher_runs_every_job_and_goes_on_with_it(
    small: list[str], launcher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = [*small, f"hydra/launcher={launcher}", "metrics=[logprob]", "output_dir=runs"]
    assert main([*sweep, "seed=1,2"]) == 0
    assert main([*sweep, "seed=1,2,3"]) == 0
    assert "calm: 3 seeds" in capsys.readouterr().out
    found = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("runs/*/config.json")}
    assert {name: each["config"]["seed"] for name, each in found.items()} == {f"runs-seed-{n}": n for n in (1, 2, 3)}
    assert (tmp_path / "runs" / "aggregate.html").is_file()


def test_a_job_that_fails_elsewhere_fails_the_sweep(small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = [argument for argument in small if not argument.startswith("claas_url")]
    sweep = [*nowhere, "claas_url=http://127.0.0.1:9", "retry_for_s=0", "hydra/launcher=joblib", "metrics=[logprob]"]
    assert main([*sweep, "seed=1,2"]) == 3


def test_optuna_searches_for_the_largest_objective(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"]
    space = ["hydra.sweeper.direction=maximize", "training.learning_rate=tag(log, interval(1e-4, 1e-2))"]
    assert main([*small, "metrics=quick", "output_dir=search", "lora_id_prefix='of-${seed}'", *search, *space]) == 0
    configs = [json.loads(path.read_text())["config"] for path in tmp_path.glob("search/*/config.json")]
    assert {config["lora_id_prefix"] for config in configs} == {"of-42"}
    rates = [config["training"]["learning_rate"] for config in configs]
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    printed = capsys.readouterr().out
    assert "training.learning_rate" in printed
    assert all(f"search-{number}" in printed for number in range(3))
