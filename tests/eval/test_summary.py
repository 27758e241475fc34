"""summary.json: built from records alone, whole at every moment, and nothing in it made up."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from claas.eval.history import History, Status
from claas.eval.records import Counts
from claas.eval.types import EvalConfig
from claas.eval.verdicts.summary import build_summary, read, write
from claas.eval.verdicts.verdict import Verdict
from tests.eval.synthetic_runs import Collapsing, make_history


def config(*preferences: str) -> EvalConfig:
    return EvalConfig(preferences=list(preferences), num_steps=6).resolved()


def test_a_finished_run_is_written_and_read_back_the_same(tmp_path: Path) -> None:
    histories = {"concise": make_history(), "identity": make_history(Collapsing(), "identity")}
    summary = build_summary("a-run", config(*histories), histories)
    path = write(tmp_path, summary)
    assert read(tmp_path) == summary
    found = json.loads(path.read_text())
    assert found["schema_version"] == 1
    assert (found["run_id"], found["status"], found["verdict"]) == ("a-run", "complete", "fail")
    assert found["preferences"]["concise"]["criteria"]["heldout_compliance"] == {
        "value": 1.0,
        "ci": [pytest.approx(0.9434, abs=1e-4), 1.0],
        "relation": ">=",
        "threshold": 0.8,
        "n": 64,
        "verdict": "pass",
        "formula": "mean verifier score over the held-out prompts; Wilson interval",
        "note": None,
    }
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_finals_are_the_last_measured_values_and_deltas_are_against_baseline() -> None:
    history = make_history()
    last = history.steps[-1]
    unmeasured = last.model_copy(update={"eval": {**last.eval, "heldout_compliance": None}})
    found = build_summary(
        "r", config("concise"), {"concise": replace(history, steps=(*history.steps[:-1], unmeasured))}
    )
    preference = found.preferences["concise"]
    assert preference.finals["heldout_compliance"] == history.steps[-2].eval["heldout_compliance"]
    assert preference.finals_at["heldout_compliance"] == 5
    assert preference.finals_at["drift.kl_k3"] == 6
    assert preference.deltas["drift.kl_k3"] == 1.0
    assert preference.baseline["preference_compliance"] == 0.0
    assert "collapse.alert" not in preference.baseline


def test_a_key_never_measured_stays_null() -> None:
    history = make_history()
    steps = tuple(step.model_copy(update={"eval": {"new_metric": {"value": None}}}) for step in history.steps)
    preference = build_summary("r", config("concise"), {"concise": replace(history, steps=steps)}).preferences[
        "concise"
    ]
    assert preference.finals["new_metric.value"] is None
    assert "new_metric.value" not in preference.finals_at
    assert preference.deltas["drift.kl_k3"] is None, "measured at baseline only"


def test_totals_are_sums_over_every_measurement() -> None:
    history = make_history(steps=2)
    step = history.steps[0]
    lossy = {**step.counts, "general": Counts(planned=40, scored=38, errored=2, truncated=5)}
    history = replace(history, steps=(step.model_copy(update={"counts": lossy}), history.steps[1]))
    summary = build_summary(
        "r", EvalConfig(preferences=["concise", "b"], num_steps=2), {"concise": history, "b": history}
    )
    preference = summary.preferences["concise"]
    assert preference.counts["general"] == Counts(planned=120, scored=118, errored=2, truncated=5)
    assert preference.tokens == {"out": 300, "trained": 800}
    assert preference.timing_s == {"measure": 6.0, "answer": 2.0, "feedback": 1.0}
    assert summary.tokens == {"out": 600, "trained": 1600}


@pytest.mark.parametrize(
    ("histories", "status"),
    [
        ({}, Status.RUNNING),
        ({"a": make_history(done=2)}, Status.RUNNING),
        ({"a": make_history(done=2, failure="x"), "b": make_history()}, Status.FAILED),
        ({"a": make_history(done=2, failure="x")}, Status.RUNNING),
        ({"a": make_history(), "b": make_history()}, Status.COMPLETE),
    ],
)
def test_the_status_is_the_least_finished_one(histories: dict[str, History], status: Status) -> None:
    summary = build_summary("r", config("a", "b"), histories)
    assert summary.status is status
    assert (summary.verdict is Verdict.PASS) == (status is Status.COMPLETE)


def test_a_preference_that_failed_keeps_its_reason_and_its_numbers() -> None:
    history = make_history(done=3, failure="the server went away")
    preference = build_summary("r", config("concise"), {"concise": history}).preferences["concise"]
    assert (preference.status, preference.failure) == (Status.FAILED, "the server went away")
    assert (preference.steps_done, preference.steps_planned) == (3, 6)
    assert preference.verdict is Verdict.INCONCLUSIVE
    assert preference.adapter is not None
    assert preference.adapter.version == 3


def test_p_values_are_adjusted_for_the_number_of_preferences() -> None:
    histories = {name: make_history(Collapsing(), name) for name in ("a", "b", "c")}
    found = build_summary("r", config(*histories), histories).preferences
    items = found["a"].capability_items
    assert items is not None
    assert found["a"].mcnemar_p_holm == pytest.approx(3 * items.mcnemar_p)
