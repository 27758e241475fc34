"""Whole runs through a gateway, in front of the real API with the real small model."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from claas.api.config import ApiConfig
from claas.api.modes import open_engine
from claas.core.settings import TrainingConfig
from claas.engines.base import Engine
from claas.eval.runner import OpenStack, run_harness
from claas.results.records import Transcript
from claas.results.settings import EvalConfig, ProtocolConfig
from claas.results.summary import RunResults, Summary
from tests.eval.every_metric import configured
from tests.eval.recomputing import require_recomputable
from tests.eval.scripted_run import Halting, until_halted
from tests.eval.small_preferences import small_preferences
from tests.fakes.engine import BASE_MODEL, FakeEngine
from tests.fakes.gateway import FAULTS, TEMPERATURE, FakeGateway, opening_through

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_GATEWAY_TOKEN", "of another gateway")


def config(folder: Path, **changes: Any) -> EvalConfig:
    chosen = {
        "preferences": ["calm"],
        "metrics": ["logprob", "compliance", "general", "collapse", "drift", "letters"],
        "num_steps": 2,
        "batch_size": 2,
        "max_tokens": 24,
        "training": TrainingConfig(steps_per_batch=1),
        "plots": False,
        "output_dir": str(folder / "run"),
        "config_dir": str(configured(folder)),
        "claas_url": "http://localhost",
        "openclaw_url": "http://gateway",
    }
    return EvalConfig(**{**chosen, **changes})


def embedded(folder: Path) -> Engine:
    return open_engine(ApiConfig(store_dir=str(folder / "store"), feedback_log_dir=str(folder / "feedback")))


def run(folder: Path, gateway: FakeGateway, **changes: Any) -> RunResults:
    results = asyncio.run(
        run_harness(config(folder, **changes), open_stack=opening_through(gateway, lambda: embedded(folder)))
    )
    require_recomputable(results.run_dir)
    return results


def transcripts(results: RunResults, name: str = "calm") -> list[Transcript]:
    history = results.preferences[name]
    assert history.baseline is not None
    return [*history.baseline.rollouts, *(rollout for step in history.steps for rollout in step.rollouts)]


def shape(results: RunResults) -> list[Any]:
    """What was asked, what was counted and which values came of it, whatever they are."""
    history = results.preferences["calm"]
    records = [history.baseline, *history.steps]
    return [
        (
            record.adapter.version,
            record.counts.keys(),
            {key: sorted(value) if isinstance(value, dict) else None for key, value in record.eval.items()},
            sorted((each.metric, each.item) for each in record.rollouts if "base/" not in each.item),
        )
        for record in records
        if record is not None
    ]


def test_a_run_through_a_gateway_is_a_direct_run_in_all_but_how_answers_are_sampled(tmp_path: Path) -> None:
    gateway = FakeGateway()
    results = run(tmp_path / "through", gateway, num_steps=1)
    direct = asyncio.run(run_harness(config(tmp_path / "direct", claas_url=None, openclaw_url=None, num_steps=1)))
    assert not results.failures
    assert shape(results) == shape(direct)
    assert all(each.errored == 0 for step in results.preferences["calm"].steps for each in step.counts.values())
    answers = [each for each in transcripts(results) if each.temperature is not None]
    assert sorted((each.prompt, each.response) for each in answers) == sorted(gateway.shown)
    assert {each.sampled_with.temperature for each in answers if each.sampled_with} == {TEMPERATURE}
    assert all(each.sampled_with and each.sampled_with.seed is None and each.seed is not None for each in answers)
    assert all(each.logprobs and each.mean_entropy is not None for each in answers)
    assert not any(each.sampled_with for each in transcripts(direct))
    notes = [(each.run_dir / "calm" / "metadata.json").read_text() for each in (results, direct)]
    assert ["greedy answers were not greedy" in note for note in notes] == [True, False]


def test_no_fault_of_a_gateway_becomes_a_number_or_is_trained_on(tmp_path: Path) -> None:
    spoiling = [fault for fault in FAULTS if fault != "other weights"]  # which may say the same by chance
    faults: Sequence[str | None] = [each for fault in spoiling for each in (None, fault)]
    gateway = FakeGateway(faults=faults)
    results = run(tmp_path, gateway, fail_on_error=False, batch_size=6)
    history = results.preferences["calm"]
    answers = [each for each in transcripts(results) if each.temperature is not None]
    lost = [each for each in answers if each.error is not None]
    assert len(lost) == len(gateway.spoilt) > len(FAULTS)
    assert all(each.response is None and each.logprobs is None for each in lost)
    counted = [each for record in (history.baseline, *history.steps) if record for each in record.counts.values()]
    assert sum(each.errored for each in counted) >= len(lost)
    whole = {each.rollout_id for each in answers if each.error is None}
    for step in history.steps:
        assert 0 < len(step.responses) < 6
        assert set(step.rollout_ids) <= whole
        assert not set(step.responses) & set(gateway.spoilt)


def test_a_gateway_that_asks_other_weights_ends_the_preference_before_anything_is_recorded(tmp_path: Path) -> None:
    results = run(tmp_path, FakeGateway(faults=["other weights"], instead="claas-tiny"))
    assert "measurements were lost" in results.failures["calm"]
    assert "did not say with the weights asked for" in results.failures["calm"]
    assert results.preferences["calm"].baseline is None


def scripted(folder: Path, engine: FakeEngine, gateway: FakeGateway, at: int | None = None, **changes: Any) -> Summary:
    """A run around a scripted engine, killed at the stack's `at`-th call and continued."""
    asked = config(folder, base_model=BASE_MODEL, **changes)
    opening = opening_through(gateway, lambda: engine)
    if at is not None:
        assert asyncio.run(_killed(asked, opening, at))
    results = asyncio.run(run_harness(asked, open_stack=opening))
    assert not results.failures
    require_recomputable(results.run_dir)
    return results.summary


async def _killed(asked: EvalConfig, opening: OpenStack, at: int) -> bool:
    halting = Halting(None, halt_at=at, late=True)

    @asynccontextmanager
    async def opened(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Halting]:
        async with opening(config, store_dir) as stack:
            halting.inner = stack
            yield halting

    return await until_halted(halting, run_harness(asked, open_stack=opened))


@pytest.mark.parametrize("at", [20, 100])
def test_a_killed_run_continues_and_trains_every_step_once(tmp_path: Path, at: int) -> None:
    engine = FakeEngine(tmp_path)
    scripted(tmp_path, engine, FakeGateway(), at)
    assert [trained.key for trained in engine.trained] == ["run/calm/0", "run/calm/1"]


def test_preferences_side_by_side_share_the_gateway_and_never_a_version(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    small_preferences(configured(tmp_path), "brief")
    summary = scripted(tmp_path, engine, FakeGateway(), preferences=["calm", "brief"], parallel_preferences=2)
    assert {name: each.counts["compliance"].errored for name, each in summary.preferences.items()} == {
        "calm": 0,
        "brief": 0,
    }
    for trained in engine.trained:
        assert {item.messages[-1]["role"] for item in trained.items} == {"user"}
    assert len(engine.trained) == 4


@pytest.mark.parametrize(
    ("kind", "controls", "updates"),
    [("sequential", [], 4), ("mixed", ["neutral"], 4), ("flip", [], 2), ("isolated", ["in_context", "off_policy"], 4)],
)
def test_every_protocol_goes_through_a_gateway(tmp_path: Path, kind: str, controls: list[str], updates: int) -> None:
    engine = FakeEngine(tmp_path)
    small_preferences(configured(tmp_path), "brief")
    changes: dict[str, Any] = {"protocol": ProtocolConfig(kind=kind), "controls": controls, "metrics": ["compliance"]}
    if kind == "flip":
        changes["preferences"] = ["concise"]
        changes["limit"] = {"heldout": 2}
    elif kind != "isolated":
        changes["preferences"] = ["calm", "brief"]
    summary = scripted(tmp_path, engine, FakeGateway(), 40, **changes)
    keys = [trained.key for trained in engine.trained]
    assert len(keys) == len(set(keys)) == updates
    assert summary.status == "complete"
