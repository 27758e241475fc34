"""A probe through lm-evaluation-harness, on rows of our own in the real schemas and the embedded model."""

import json
from pathlib import Path

import pytest

from claas.bench.probe import main

HUB = Path(__file__).resolve().parents[1] / "benchmarks" / "hub"


@pytest.mark.bench
def test_the_same_weights_have_not_regressed_and_are_marked_as_measured_on_rows_of_our_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = [
        f"baseline={tmp_path / 'baseline.json'}",
        "tasks=[hellaswag,truthfulqa_mc2]",
        "limit=3",
        f"datasets_dir={HUB}",
        f"output_dir={tmp_path / 'results'}",
        f"store_dir={tmp_path / 'store'}",
        f"output={report}",
    ]
    assert [main(arguments), main(arguments)] == [0, 0]
    assert "fixture: rows of our own" in capsys.readouterr().out
    found = json.loads(report.read_text())
    assert {task: delta["delta"] for task, delta in found["deltas"].items()} == {"hellaswag": 0, "truthfulqa_mc2": 0}
    assert found["fixture"] is True
