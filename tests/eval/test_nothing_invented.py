"""Whatever goes wrong, and however often: every number on record follows from what the stack really said."""

import asyncio
import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from claas.eval.runner import OpenStack, run_harness
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from tests.eval.every_metric import every_metric, opening
from tests.eval.faulty import (
    NUMBER_FAULTS,
    STACK_FAULTS,
    WIRE_FAULTS,
    Chance,
    FaultyStack,
    FaultyWire,
    Said,
    over_the_wire,
)
from tests.eval.recomputing import require_recomputable
from tests.eval.record_files import baseline, numbers, steps
from tests.eval.scripted_run import talkative
from tests.fakes.engine import BASE_MODEL, FakeEngine

AS_FOUND = [Phase.explicit, Phase.reuse, Phase.generate]
"""A run is too much to be shrunk by running it again and again."""

BOUNDS = st.sampled_from([True, False, 0.05, 0.5])


def chances(kinds: list[str]) -> st.SearchStrategy[Chance]:
    some = st.lists(st.sampled_from(kinds), min_size=1, max_size=4, unique=True)
    return st.builds(Chance, st.integers(0, 2**32), st.sampled_from([0.02, 0.2, 0.7]), some)


def check_stack(chance: Chance, fail_on_error: bool | float) -> None:
    """A run on a faulty stack, and the same run continued when the faults have stopped."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        config = small(folder, fail_on_error)
        stack = FaultyStack(talkative(), chance)
        check(run(config, opening(stack)), stack.usable)
        chance.stopped = True
        if "fewer tokens" in chance.kinds:  # a score at baseline that later ones contradict stays lost
            config = replace(config, fail_on_error=False)
        ended = run(config, opening(stack))
        check(ended, stack.usable)
        assert not ended.failures
        assert {(item.rollout_id, item.response) for item in stack.trained} <= stack.usable
        assert len(stack.inner.receipts) == config.num_steps


def check_wire(chance: Chance, fail_on_error: bool | float) -> None:
    """The same against the real API, behind a faulty wire."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        config = small(folder, fail_on_error, base_model=BASE_MODEL, claas_url="http://localhost")
        engine, wires = FakeEngine(folder / "engine"), list[FaultyWire]()
        open_stack = over_the_wire(engine, folder, wires, chance)
        check(run(config, open_stack), said(wires))
        chance.stopped = True
        ended = run(config, open_stack)
        check(ended, said(wires))
        assert not ended.failures
        assert {item for wire in wires for item in wire.trained} <= said(wires)
        assert len(engine.trained) == config.num_steps


@settings(max_examples=6, phases=AS_FOUND)
@given(chances(STACK_FAULTS), BOUNDS)
def test_on_a_stack_where_anything_may_fail(chance: Chance, fail_on_error: bool | float) -> None:
    check_stack(chance, fail_on_error)


@settings(max_examples=4, phases=AS_FOUND)
@given(chances(WIRE_FAULTS + NUMBER_FAULTS), BOUNDS)
def test_over_a_wire_on_which_anything_may_break(chance: Chance, fail_on_error: bool | float) -> None:
    check_wire(chance, fail_on_error)


@pytest.mark.faults
@settings(max_examples=200, phases=AS_FOUND)
@given(chances(STACK_FAULTS), BOUNDS)
def test_on_a_stack_where_anything_may_fail_at_length(chance: Chance, fail_on_error: bool | float) -> None:
    check_stack(chance, fail_on_error)


@pytest.mark.faults
@settings(max_examples=200, phases=AS_FOUND)
@given(chances(WIRE_FAULTS + NUMBER_FAULTS), BOUNDS)
def test_over_a_wire_on_which_anything_may_break_at_length(chance: Chance, fail_on_error: bool | float) -> None:
    check_wire(chance, fail_on_error)


def small(folder: Path, fail_on_error: bool | float, **changes: Any) -> EvalConfig:
    return every_metric(folder, num_steps=2, fail_on_error=fail_on_error, **changes)


def run(config: EvalConfig, open_stack: OpenStack) -> RunResults:
    return asyncio.run(run_harness(config, open_stack=open_stack))


def said(wires: list[FaultyWire]) -> set[Said]:
    return {answer for wire in wires for answer in wire.usable}


def check(results: RunResults, usable: Collection[Said]) -> None:
    """The laws of a record, finished or not; `usable` is what the stack said, by its own account."""
    require_recomputable(results.run_dir)
    if not (results.run_dir / "calm" / "baseline.json").exists():
        assert results.failures
        return
    records = [baseline(results.run_dir), *steps(results.run_dir)]
    for record in records:
        for counts in record["counts"].values():
            assert counts["planned"] == counts["scored"] + counts["errored"]
            assert counts["truncated"] <= counts["scored"]
        _check_answers(record, usable)
        _check_means(record)
    summary = json.loads((results.run_dir / "summary.json").read_text())["preferences"]["calm"]
    for name, total in summary["counts"].items():
        assert total["errored"] == sum(record["counts"].get(name, {"errored": 0})["errored"] for record in records)


def _check_answers(record: Mapping[str, Any], usable: Collection[Said]) -> None:
    """A response on record is one that came, and one that did not come has no number beside it."""
    for rollout in record["rollouts"]:
        sampled = rollout["temperature"] is not None
        if rollout["error"] is None and sampled:
            assert (rollout["rollout_id"], rollout["response"].strip()) in usable
        if rollout["error"] is not None:
            assert rollout["verdict"] is None
            assert not list(numbers([rollout["logprobs"], rollout["mean_entropy"], rollout["completion_tokens"]]))
            assert rollout["response"] is None or not sampled
    for trained in zip(record.get("rollout_ids", []), record.get("responses", []), strict=True):
        assert trained in usable


def _check_means(record: Mapping[str, Any]) -> None:
    """Means are over what was scored, and of nothing there is none: three of them worked out by hand."""
    for kind, key in (("probe/", "preference_compliance"), ("heldout/", "heldout_compliance")):
        scores = [each["verdict"]["score"] for each in came(record, "compliance", kind)]
        counts = record["counts"]["compliance" if kind == "probe/" else "heldout"]
        assert counts["scored"] == len(scores)
        assert record["eval"][key] == (pytest.approx(fmean(scores)) if scores else None)
    letters = [each["logprobs"][0] for each in came(record, "letters", "") if each["logprobs"]]
    assert record["eval"]["letters"] == (letters[0] if letters else None)
    passed = [each["verdict"]["passed"] for each in came(record, "general", "")]
    if "general" in record["eval"]:
        assert record["eval"]["general"]["knowledge_pass_rate"] == (pytest.approx(fmean(passed)) if passed else None)


def came(record: Mapping[str, Any], metric: str, kind: str) -> list[dict[str, Any]]:
    """The transcripts of what came back."""
    return [
        each
        for each in record["rollouts"]
        if each["metric"] == metric and each["item"].startswith(kind) and each["error"] is None
    ]
