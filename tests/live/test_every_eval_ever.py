"""What is exported is valid by every_eval_ever's own validator, and its converter reads what lm-eval said of a run.

It needs Python 3.12, so `make interop` leaves it out:

python3.12 -m venv .cache/interop/every_eval_ever
.cache/interop/every_eval_ever/bin/pip install -r configs/bench/interop/every_eval_ever/requirements.txt
python -m pytest -m live tests/live/test_every_eval_ever.py
"""

import json
import subprocess
from pathlib import Path

import pytest

import claas
from claas.bench.__main__ import main
from claas.bench.export import main as export

pytestmark = [pytest.mark.live, pytest.mark.slow]

ROOT = Path(claas.__file__).parents[1]
OTHERS = ROOT / ".cache" / "interop" / "every_eval_ever" / "bin"
if not OTHERS.is_dir():
    pytest.skip("every_eval_ever is not installed; how to is said above", allow_module_level=True)

HUB = ROOT / "tests" / "benchmarks" / "hub"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model on one task."""
    folder = tmp_path_factory.mktemp("bench") / "results"
    asked = ["tasks=[hellaswag,gsm8k]", "limit=2", f"datasets_dir={HUB}", f"output_dir={folder}"]
    assert main([*asked, f"store_dir={folder.parent / 'store'}"]) == 0
    return folder


def test_what_is_exported_is_valid(results: Path) -> None:
    assert export([str(results), "-o", str(results.parent)]) == 0
    told = subprocess.run(
        [OTHERS / "every_eval_ever", "validate", "data/*/*/*/*.json"],
        cwd=results.parent,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout
    assert "1 passed, 0 warning-only, 0 failed" in told.stdout


def test_what_lm_eval_said_can_be_converted(results: Path, tmp_path: Path) -> None:
    raw = results / "claas-tiny" / "lm_eval_raw.json"
    convert = [OTHERS / "every_eval_ever", "convert", "lm_eval", "--log_path", raw, "--output_dir", tmp_path / "data"]
    told = subprocess.run(convert, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    models = {json.loads(path.read_text())["model_info"]["id"] for path in (tmp_path / "data").rglob("*.json")}
    assert models == {"claas/claas-tiny"}
