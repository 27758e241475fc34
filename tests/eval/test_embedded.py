"""The harness against the real API in process, with the real small model."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from claas.api.config import ApiConfig
from claas.api.modes import open_engine
from claas.core.errors import InvalidInput, MissingExtra
from claas.core.settings import TrainingConfig
from claas.dashboard.token_shades import shaded
from claas.eval.runner import OpenStack, run_harness
from claas.eval.stacks.open_stack import open_stack
from claas.eval.stacks.stack import LostAnswer
from claas.results.manifest import read_manifest
from claas.results.progress import lost
from claas.results.run_files import RunFiles
from claas.results.settings import EvalConfig, ProtocolConfig
from claas.results.summary import RunResults
from claas.results.user import UserConfig
from tests.eval.live_api import live_api
from tests.eval.protocol_runs import on
from tests.eval.recomputing import require_recomputable
from tests.eval.scripted_run import Halting
from tests.eval.small_preferences import small_preferences
from tests.fakes.stack import FakeStack

pytest.importorskip("torch")


def config(folder: Path, **settings: Any) -> EvalConfig:
    chosen = {
        "preferences": ["calm"],
        "metrics": ["quick"],
        "num_steps": 2,
        "batch_size": 2,
        "max_tokens": 24,
        "training": TrainingConfig(steps_per_batch=1),
        "plots": False,
        "output_dir": str(folder / "run"),
        "config_dir": str(small_preferences(folder / "mine", "calm")),
    }
    return EvalConfig(**{**chosen, **settings})


def halting(at: int, halted: asyncio.Event) -> OpenStack:
    """The embedded stack, whose `at`-th call never comes back."""

    @asynccontextmanager
    async def opened(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Halting, None]:
        async with open_stack(config, store_dir) as stack:
            yield Halting(stack, halt_at=at, late=True, halted=halted)

    return opened


async def killed(config: EvalConfig, at: int) -> None:
    halted = asyncio.Event()
    running = asyncio.create_task(run_harness(config, open_stack=halting(at, halted)))
    waiting = asyncio.create_task(halted.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    assert halted.is_set(), running
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def numbers(results: RunResults, name: str = "calm") -> list[Any]:
    """What was measured and learned, less times, the canary that each run has its own of, and ids."""
    history = results.preferences[name]
    assert history.baseline is not None
    told = [history.baseline.model_dump(), *(step.model_dump() for step in history.steps)]
    for record in told:
        for key in ("timestamp", "timing_s", "rollout_ids", "canary"):
            record.pop(key, None)
        record["adapter"].pop("lora_id")
        for rollout in record["rollouts"]:
            rollout.pop("rollout_id")
    return told


def test_a_killed_run_resumes_to_the_numbers_of_an_unbroken_one_elsewhere(tmp_path: Path) -> None:
    unbroken = asyncio.run(run_harness(config(tmp_path / "a")))
    assert not unbroken.failures
    assert [step.adapter.version for step in unbroken.preferences["calm"].steps] == [1, 2]
    elsewhere = str(tmp_path / "elsewhere")
    asyncio.run(killed(config(tmp_path / "b", output_dir=elsewhere), at=13))
    resumed = asyncio.run(run_harness(config(tmp_path / "b", output_dir=elsewhere)))
    assert numbers(resumed) == numbers(unbroken)
    assert read_manifest(RunFiles(resumed.run_dir)).base_source == "ships with this project"
    require_recomputable(resumed.run_dir)
    for transcript in (each for step in resumed.preferences["calm"].steps for each in step.rollouts):
        shades = shaded(transcript, at_most=1000)
        assert shades is not None, transcript.item
        assert not shades.of_tokens, "tokens lead through the text"
    ledger = (tmp_path / "elsewhere" / "calm" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in ledger] == ["intent", "receipt"] * 2


ARMS = ["in_context", "in_context_history", "placebo", "neutral", "irrelevant", "off_policy", "sft"]


@pytest.mark.faults
def test_every_arm_killed_anywhere_resumes_to_the_numbers_of_an_unbroken_run(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"controls": ARMS, "num_steps": 2}
    unbroken = asyncio.run(run_harness(config(tmp_path / "a", **asked)))
    assert not unbroken.failures
    for at in (40, 70, 100):
        again = config(tmp_path / str(at), output_dir=str(tmp_path / f"killed-{at}"), **asked)
        asyncio.run(killed(again, at))
        resumed = asyncio.run(run_harness(again))
        assert not resumed.failures
        for name in unbroken.preferences:
            assert numbers(resumed, name) == numbers(unbroken, name), f"{name}, killed at call {at}"
        assert resumed.summary.arms == unbroken.summary.arms
        require_recomputable(resumed.run_dir)
        for ledger in resumed.run_dir.glob("*/ledger.jsonl"):
            assert [json.loads(line)["kind"] for line in ledger.read_text().splitlines()] == ["intent", "receipt"] * 2


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["sequential", "flip"])
def test_controls_beside_a_protocol_resume_too(tmp_path: Path, kind: str) -> None:
    mine = small_preferences(tmp_path / "mine", "calm", "warm")
    for path in (mine / "preference").glob("*.yaml"):
        verifier = {"_target_": "claas.eval.metrics.verifiers.EmojiVerifier"}
        opposite = {"feedback_string": "No longer", "verifier": verifier}
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "opposite": opposite}))
    asked: dict[str, Any] = {
        "controls": ["sft", "neutral"],
        "num_steps": 2,
        "preferences": ["calm", "warm"],
        "protocol": ProtocolConfig(kind=kind),
        "config_dir": str(mine),
    }
    unbroken = asyncio.run(run_harness(config(tmp_path / "a", **asked)))
    assert not unbroken.failures
    again = config(tmp_path / "b", output_dir=str(tmp_path / "elsewhere"), **asked)
    asyncio.run(killed(again, 60))
    resumed = asyncio.run(run_harness(again))
    for name in unbroken.preferences:
        assert numbers(resumed, name) == numbers(unbroken, name), name
    require_recomputable(resumed.run_dir)


def test_the_stack_lives_in_the_run_folder(tmp_path: Path) -> None:
    results = asyncio.run(run_harness(config(tmp_path, num_steps=1)))
    assert {path.name for path in (results.run_dir / "stack").iterdir()} >= {"adapters", "feedback", "rollouts.jsonl"}


@pytest.mark.parametrize("mode", ["tinker", "modal"])
def test_a_mode_that_cannot_be_hosted_says_why(tmp_path: Path, mode: str) -> None:
    with pytest.raises((InvalidInput, MissingExtra), match=mode):
        asyncio.run(run_harness(config(tmp_path, mode=mode)))


def test_a_bug_in_the_hosted_app_is_a_lost_answer_with_a_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: Any) -> None:
        raise RuntimeError("a bug in sampling")

    async def ask() -> None:
        async with open_stack(config(tmp_path).resolved(), tmp_path / "store") as stack:
            adapter = await stack.init_adapter("eval/calm", 0)
            monkeypatch.setattr("claas.engines.local.engine.LocalEngine.sample", broken)
            await stack.answer(adapter, "What is snow?", temperature=0.0, seed=1, max_tokens=4)

    with caplog.at_level(logging.ERROR), pytest.raises(LostAnswer, match="HTTP 500"):
        asyncio.run(ask())
    assert "a bug in sampling" in caplog.text


@pytest.mark.slow
def test_claas_tiny_behind_our_own_api_cannot_play_a_user_and_that_is_said(tmp_path: Path) -> None:
    with live_api(tmp_path / "server", open_engine(ApiConfig(store_dir=str(tmp_path / "store")))) as url:
        user = UserConfig(kind="llm", base_url=url, model="claas-tiny", max_tokens=12)
        asked = config(tmp_path, user=user, num_steps=1, controls=[])
        results = asyncio.run(run_harness(asked, open_stack=on(FakeStack())))
    require_recomputable(results.run_dir)
    step = results.preferences["calm"].steps[0]
    heard = [each for each in step.rollouts if each.metric == "user"]
    assert [(each.error, (each.verdict or {})["model"]) for each in heard] == [(None, "claas-tiny")] * 2
    assert (step.responses, step.adapter.version) == ([], 0)
    assert lost(results.summary.preferences["calm"].counts) == "answers lost: 2 of 2 of user"


def test_the_program_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = {"heldout": 4, "out_of_scope": 2, "pairs": 2, "capability": 12}
    config = EvalConfig(
        preferences=["concise"], num_steps=1, limit=few, max_tokens=40, output_dir="./data/evals/manual-run"
    )
    results = asyncio.run(run_harness(config))
    require_recomputable(results.run_dir)
    assert len((tmp_path / "data/evals/manual-run/concise/steps.jsonl").read_text().splitlines()) == 1
