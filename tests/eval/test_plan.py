"""A plan says exactly what a run asks, what its criteria can show, and starts nothing; a pilot is continued."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.core.errors import InvalidInput
from claas.eval.__main__ import main
from claas.eval.run.plan import RunPlan, detectable, plan_of
from claas.eval.run.reporter import Silent
from claas.eval.runner import prepare, run_harness
from claas.results.keys import Criterion
from claas.results.means import needed_for_mean
from claas.results.records import Transcript
from claas.results.settings import EvalConfig, ProtocolConfig
from claas.results.statistics import retention_interval, wilson
from tests.eval.protocol_runs import config, on, on_record, ran, scripted
from tests.eval.recomputing import require_recomputable


class Requests(Silent):
    """Counts what it is told of the requests of each track."""

    counts_requests = True

    def __init__(self) -> None:
        self.planned: dict[str, int] = {}
        self.ended = Counter[str]()

    def requests_planned(self, name: str, requests: Sequence[int]) -> None:
        self.planned[name] = sum(requests)

    def request_ended(self, name: str, request: Transcript) -> None:
        self.ended[name] += 1


def planned(asked: EvalConfig) -> RunPlan:
    return asyncio.run(plan_of(*prepare(asked)))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("isolated", {"controls": ["in_context", "neutral"], "num_steps": 3}),
        ("isolated", {"measure_every": 2, "num_steps": 5, "checkpoints": [0], "metrics": ["all"]}),
        ("sequential", {"metrics": ["all"]}),
        ("mixed", {}),
        ("flip", {}),
    ],
)
def test_it_counts_every_request_that_the_run_then_makes(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    asked = config(tmp_path, kind, **changes)
    before = planned(asked)
    assert not (tmp_path / "run").exists(), "nothing was started"
    told = Requests()
    results = ran(asked, reporter=told)
    records = [
        record
        for history in results.preferences.values()
        for record in (history.baseline, *history.steps)
        if record is not None
    ]
    assert before.requests == Counter(rollout.metric for record in records for rollout in record.rollouts)
    assert told.planned == told.ended, "whoever watches is told of as many, and none of the checks' own"
    assert sum(told.planned.values()) == sum(before.requests.values())
    assert before.updates == sum(len(history.steps) for history in results.preferences.values())
    assert before.measurements == sum(bool(record.eval) for record in records)


def test_a_pilot_is_the_baseline_and_a_step_and_the_run_goes_on_from_it(tmp_path: Path) -> None:
    whole, asked, stack = config(tmp_path / "whole", "isolated"), config(tmp_path / "piloted", "isolated"), scripted()
    ran(whole)
    assert planned(asked).tokens is None
    pilot = asyncio.run(run_harness(asked, open_stack=on(stack), pilot=True))
    assert [len(history.steps) for history in pilot.preferences.values()] == [1, 0, 0]
    require_recomputable(pilot.run_dir)
    told = planned(asked)
    assert told.tokens is not None
    assert told.seconds is not None
    ran(asked, stack)
    assert on_record(tmp_path / "piloted" / "run") == on_record(tmp_path / "whole" / "run")


def criterion(estimator: Any, relation: Any = ">=") -> Criterion:
    return Criterion(name="x", relation=relation, threshold=0.0, estimator=estimator, meaning="m", formula="f")


@pytest.mark.parametrize(
    ("n", "fewest", "rate"), [(16, 16, 0.986), (32, 31, 0.974), (64, 58, 0.925), (256, 218, 0.867)]
)
def test_what_a_share_can_show_by_known_values(n: int, fewest: int, rate: float) -> None:
    found = detectable(criterion("share"), n, 0.8, 0.95)
    assert found.pass_from == fewest / n
    assert found.passes_at == pytest.approx(rate, abs=5e-4)


@pytest.mark.parametrize(("n", "lost", "loss"), [(64, 1, 0.013), (128, 6, 0.037), (256, 16, 0.053), (512, 37, 0.064)])
def test_what_retention_can_show_by_known_values(n: int, lost: int, loss: float) -> None:
    found = detectable(criterion("retention", ">"), n, 0.9, 0.95)
    assert found.pass_from == (n - lost) / n
    assert found.passes_at == pytest.approx(1 - loss, abs=6e-4)


@pytest.mark.parametrize(("n", "distance"), [(12, 1.35), (20, 0.90)])
def test_what_a_mean_can_show_is_what_its_interval_needs(n: int, distance: float) -> None:
    assert detectable(criterion("ratio"), n, 0.6, 0.95).says.startswith(
        f"is told from the threshold at {distance:.2f} "
    )
    spread = math.sqrt((n - 1) / n)  # of values 1 below and above their mean, in proportion to the sample's
    for nearer, enough in ((-0.01, False), (0.01, True)):
        values = [distance + nearer + sign * spread for sign in (-1, 1)] * (n // 2)
        needed = needed_for_mean(values, 0.0)
        assert needed is not None
        assert (needed <= n) == enough


@given(st.integers(1, 120), st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_one_less_than_what_passes_does_not(n: int, threshold: float) -> None:
    share = detectable(criterion("share"), n, threshold, 0.95).pass_from
    if share is not None and share > 0:
        assert wilson(round(share * n) - 1, n).low < threshold <= wilson(round(share * n), n).low
    kept = detectable(criterion("retention", ">"), n, threshold, 0.95).pass_from
    if kept is not None and kept > 0:
        fewer = [1.0] * (round(kept * n) - 1) + [0.0] * (n - round(kept * n) + 1)
        interval = retention_interval(fewer, [1.0] * n)
        assert interval is None or interval.low <= threshold


def test_the_command_prints_it_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan=true", "preferences=[concise]", f"output_dir={tmp_path / 'run'}"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "20 updates, 21 measurements, 5,016 requests" in shown
    assert "passes from 58 of 64" in shown
    assert "passes with at most 5 of 123 lost" in shown, "wordings of one fact are one item"
    assert "passes with at most 5 of 120 lost" in shown, "forms that the preference is about are none of them"
    assert not (tmp_path / "run").exists()


def test_what_is_no_plan_is_refused() -> None:
    with pytest.raises(InvalidInput, match="plan must be true, false or pilot, got 'pilto'"):
        EvalConfig(plan="pilto")
    assert EvalConfig(protocol=ProtocolConfig(kind="mixed"), plan="pilot").plan == "pilot"
