"""Whole runs: several preferences, failures that end one of them, and runs that are started again."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import InvalidInput, StackError
from claas.eval.runner import run_harness
from claas.eval.stacks.stack import WrongWeights
from claas.results.ledger import Receipt
from claas.results.overview import listed
from claas.results.run_index import find_runs
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from tests.eval.recomputing import require_recomputable
from tests.eval.scripted_run import Halting, talkative
from tests.eval.small_preferences import small_preferences

NAMES = ("calm", "brief", "kind")


def harness(folder: Path, stack: Any, **settings: Any) -> RunResults:
    """Run three small preferences of two steps each on `stack`; what is on record then agrees with itself."""
    chosen = {
        "preferences": list(NAMES),
        "metrics": ["quick"],
        "num_steps": 2,
        "plots": False,
        "output_dir": str(folder / "run"),
        "config_dir": str(small_preferences(folder / "mine", *NAMES)),
    }

    @asynccontextmanager
    async def open_stack(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Any, None]:
        yield stack

    results = asyncio.run(run_harness(EvalConfig(**{**chosen, **settings}), open_stack=open_stack))
    require_recomputable(results.run_dir)
    return results


class Failing(Halting):
    """Raises `failure` at the updates of one preference."""

    failure: Exception = StackError("no memory left")

    async def give_feedback(self, adapter, items, key) -> Receipt:
        if "brief" in adapter.lora_id:
            raise self.failure
        return await super().give_feedback(adapter, items, key)


def test_a_run_returns_what_its_folder_records(tmp_path: Path) -> None:
    results = harness(tmp_path, talkative())
    assert list(results.preferences) == list(NAMES)
    assert not results.failures
    assert results.new_steps == 6
    for name, history in results.preferences.items():
        assert history.baseline is not None
        assert [step.step for step in history.steps] == [0, 1]
        assert history.steps[1].adapter.lora_id == f"eval/{name}-run"
        lines = (results.run_dir / name / "steps.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [0, 1]
    assert json.loads((results.run_dir / "summary.json").read_text())["status"] == "complete"
    assert results.config.base_model == "claas-tiny"


def test_a_failed_update_ends_its_preference_and_the_others_go_on(tmp_path: Path) -> None:
    stack = talkative()
    results = harness(tmp_path, Failing(stack))
    assert results.failures == {"brief": "no memory left"}
    assert [len(history.steps) for history in results.preferences.values()] == [2, 0, 2]
    assert results.summary.status == "failed"
    again = harness(tmp_path, Halting(stack))
    assert not again.failures
    assert again.new_steps == 2
    assert again.summary.status == "complete"


def test_wrong_weights_are_called_by_their_name(tmp_path: Path) -> None:
    stack = Failing(talkative())
    stack.failure = WrongWeights("asked 1, answered by 0")
    assert harness(tmp_path, stack).failures == {"brief": "wrong weights: asked 1, answered by 0"}


def test_preferences_run_side_by_side_when_asked_to(tmp_path: Path) -> None:
    sequential, parallel = Halting(talkative(), delay_s=0.01), Halting(talkative(), delay_s=0.01)
    harness(tmp_path / "a", sequential)
    harness(tmp_path / "b", parallel, parallel_preferences=3)
    begun = [
        [at for at, entry in enumerate(each.log) if entry[:2] == ("begin", "init")] for each in (sequential, parallel)
    ]
    assert begun[1] == [0, 1, 2]
    assert begun[0][1] > 10


def test_the_summary_is_there_as_soon_as_one_preference_has_finished(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    class Looks(Halting):
        async def init_adapter(self, lora_id: str, seed: int):
            path = tmp_path / "run" / "summary.json"
            seen.append(json.loads(path.read_text()) if path.exists() else {})
            return await super().init_adapter(lora_id, seed)

    harness(tmp_path, Looks(talkative()))
    assert [list(each.get("preferences", [])) for each in seen] == [[], ["calm"], ["calm", "brief"]]
    assert seen[1]["status"] == "running"


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    harness(tmp_path, talkative())
    (tmp_path / "run" / "summary.json").unlink()
    results = harness(tmp_path, None)
    assert results.new_steps == 0
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_finished_run_can_grow(tmp_path: Path) -> None:
    stack = talkative()
    harness(tmp_path, Halting(stack))
    results = harness(tmp_path, Halting(stack), num_steps=3)
    assert results.new_steps == 3
    assert [len(history.steps) for history in results.preferences.values()] == [3, 3, 3]


def test_a_preference_that_was_edited_is_refused(tmp_path: Path) -> None:
    stack = talkative()
    harness(tmp_path, Failing(stack))
    path = tmp_path / "mine" / "preference" / "brief.yaml"
    path.write_text(path.read_text().replace("What is fog?", "What is smog?"))
    with pytest.raises(InvalidInput, match="the preference 'brief' has changed"):
        harness(tmp_path, Halting(stack))


def test_a_capability_suite_that_was_edited_is_refused(tmp_path: Path) -> None:
    stack, suite = talkative(), tmp_path / "mine" / "capability" / "default.yaml"
    harness(tmp_path, Failing(stack), metrics=["general"])
    suite.parent.mkdir()
    suite.write_text('- {id: capital, prompt: "Capital?", check: {kind: contains, any_of: [Paris]}}')
    with pytest.raises(
        InvalidInput,
        match=r"what the metrics general ask .*; form_retention is judged no more\) has changed since .*; restore it",
    ):
        harness(tmp_path, Halting(stack), metrics=["general"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preferences": ["calmer"]}, "unknown preference 'calmer'"),
        ({"metrics": ["vibes"]}, "unknown metric 'vibes'"),
        ({"openclaw_url": "http://127.0.0.1:1"}, "openclaw_url needs claas_url"),
        ({"openclaw_url": "127.0.0.1:1"}, "openclaw_url must be an address like"),
        ({"openclaw_url": "http://u:key@host", "claas_url": "http://host"}, "set OPENCLAW_GATEWAY_TOKEN instead"),
        ({"openclaw_url": "http://host", "claas_url": "http://host"}, "set OPENCLAW_GATEWAY_TOKEN to it"),
        ({"claas_url": "127.0.0.1:8080"}, "claas_url must be an address like"),
        ({"claas_url": "ftp://host"}, "claas_url must be an address like"),
        ({"claas_url": "http://user:key@host"}, "set CLAAS_API_KEY instead"),
        ({"config_dir": "/nowhere"}, "/nowhere"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], said: str
) -> None:
    monkeypatch.delenv("OPENCLAW_GATEWAY_TOKEN", raising=False)
    with pytest.raises(InvalidInput, match=said):
        harness(tmp_path, None, **settings)
    assert not (tmp_path / "run").exists()


def test_two_preferences_of_one_name_are_refused(tmp_path: Path) -> None:
    other = small_preferences(tmp_path / "other", "calm") / "preference" / "calm.yaml"
    with pytest.raises(InvalidInput, match="two of the preferences are called 'calm'"):
        harness(tmp_path, None, preferences=["calm", str(other)])


def test_a_preference_cannot_be_called_like_a_folder_of_the_run(tmp_path: Path) -> None:
    small_preferences(tmp_path / "mine", "stack")
    with pytest.raises(InvalidInput, match="cannot be called 'stack'"):
        harness(tmp_path, None, preferences=["stack"])


def test_pictures_and_the_report_are_made_when_asked_for(tmp_path: Path) -> None:
    harness(tmp_path, talkative(), preferences=["calm"], plots=True)
    assert list((tmp_path / "run" / "plots").glob("*.png"))
    report = (tmp_path / "run" / "report.html").read_text()
    assert "complete</span>" in report
    assert "running" not in report[report.index("<main") : report.index("<script")]


def test_a_run_that_ended_stands_in_the_list_without_being_read(tmp_path: Path) -> None:
    harness(tmp_path, talkative(), preferences=["calm"], plots=True)
    found = listed(find_runs(tmp_path), new_rows_s=-1)
    assert {each.name: each.state for each in found} == {"run": "complete", "mine": "unreadable"}
