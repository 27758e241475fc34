"""A probe through lm-evaluation-harness, on rows of our own in the real schemas and the embedded model."""

import asyncio
import json
from pathlib import Path

import pytest

from claas.bench.probe import main
from claas.eval.stacks.open_stack import open_stack
from claas.results.settings import EvalConfig

pytest.importorskip("lm_eval")

HUB = Path(__file__).parents[1] / "benchmarks" / "hub"


@pytest.mark.bench
def test_an_adapter_that_learned_nothing_has_not_regressed_by_either_of_its_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(with_new_adapter("team/calm", tmp_path / "store"))
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
    assert main(arguments) == 0
    for name in ("team/calm@0", "team-calm@0"):
        assert main([*arguments, f"adapter={name}"]) == 0
        found = json.loads(report.read_text())
        assert (found["model_name"], found["fixture"]) == ("team-calm@0", True)
        assert {task: each["delta"] for task, each in found["deltas"].items()} == {"hellaswag": 0, "truthfulqa_mc2": 0}
    assert "fixture: rows of our own" in capsys.readouterr().out


async def with_new_adapter(lora_id: str, store: Path) -> None:
    async with open_stack(EvalConfig(base_model="claas-tiny"), store) as stack:
        await stack.init_adapter(lora_id, seed=1)
