"""summary.json: built from records alone, whole at every moment, and nothing in it made up."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from claas.results.records import Counts, History, Status
from claas.results.settings import EvalConfig
from claas.results.summary import build_summary, read, write
from claas.results.verdict import Verdict
from tests.results.synthetic_runs import Collapsing, make_history


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
        "p": 1.0,
        "p_holm": 1.0,
        "verdict": "pass",
        "formula": "mean verifier score over the held-out prompts; Wilson interval; "
        "p: exact binomial (Clopper & Pearson 1934)",
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


def test_p_values_are_adjusted_over_every_set_of_items_of_every_preference() -> None:
    """Each of three preferences has capability items, held-out prompts and probes: nine tests."""
    histories = {name: make_history(Collapsing(), name) for name in ("a", "b", "c")}
    found = build_summary("r", config(*histories), histories).preferences["a"].changed_items
    p_values = {name: items.mcnemar_p for name, items in found.items()}
    assert list(p_values) == ["capability", "heldout", "probe"]
    assert sorted(p_values, key=lambda name: p_values[name]) == ["heldout", "capability", "probe"]
    assert found["heldout"].mcnemar_p_holm == pytest.approx(9 * p_values["heldout"])
    assert found["capability"].mcnemar_p_holm == pytest.approx(6 * p_values["capability"])
    assert found["probe"].mcnemar_p_holm == pytest.approx(3 * p_values["probe"])


def test_deltas_of_means_over_items_have_an_interval_and_other_deltas_have_none() -> None:
    found = build_summary("r", config("concise"), {"concise": make_history()}).preferences["concise"]
    assert {"heldout_compliance", "preference_compliance", "logprob_margin.margin"} < set(found.delta_ci)
    assert "drift.kl_k3" not in found.delta_ci
    for key, interval in found.delta_ci.items():
        delta = found.deltas[key]
        assert delta is not None
        assert interval is None or interval[0] - 1e-9 <= delta <= interval[1] + 1e-9
    assert found.delta_ci["heldout_compliance"] == (pytest.approx(0.87, abs=0.02), 1.0)
    assert found.delta_ci["general.capability_pass_rate"] == (0.0, 0.0), "forty items, none changed"


def test_before_anything_is_measured_after_baseline_there_is_no_delta_to_have_an_interval() -> None:
    found = build_summary("r", config("concise"), {"concise": make_history(done=0)}).preferences["concise"]
    assert found.delta_ci == {}
