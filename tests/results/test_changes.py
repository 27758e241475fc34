"""Scores judged by how they changed, item by item, and the rule by which a drop of them ends a run."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from claas.results.estimates import estimate, is_beyond
from claas.results.items import flips
from claas.results.keys import Criterion, Items, Key
from claas.results.records import AdapterVersion, Baseline, StepRecord, Transcript
from claas.results.regression import Regressed, newest_checkpoint, require_no_regression
from claas.results.settings import EvalConfig

CRITERION = Criterion(name="bench_facts", relation=">", threshold=-0.05, estimator="change", meaning="m", formula="f")
ITEMS = Items(metric="bench", prefix="facts/", value="joint_score", flips="facts")
KEY = Key(key="bench.facts", title="Facts", limits=(0.0, 1.0), items=ITEMS, criterion=CRITERION)


def asked(scores: Sequence[float | None]) -> list[Transcript]:
    """Two requests about each question, as a choice between two texts has them; None is a question that was lost."""
    return [
        Transcript(
            metric="bench",
            item=f"facts/{number}/{choice}",
            prompt="Which?",
            response=f"this {choice}",
            logprobs=[-float(choice)],
            error="lost" if score is None else None,
            verdict=None if score is None else {"score": score, "passed": score == 1.0},
        )
        for number, score in enumerate(scores)
        for choice in (1, 0)
    ]


def test_the_change_is_of_the_same_items_with_half_an_item_added_to_each_case() -> None:
    before, after = asked([1.0] * 10), asked([0.0, 0.0, 0.0, *[1.0] * 7])
    found = estimate(KEY, after, before, -0.05, 0.95)
    assert (found.value, found.n) == (pytest.approx(-0.3), 10)
    mean, spread = -3 / 12, math.sqrt((3 + 1) / 12 - (3 / 12) ** 2)  # Agresti & Min 2005: 3 lost, of 10 + 2 items
    half = 1.959963984540054 * spread / math.sqrt(12)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((mean - half, mean + half))


def test_lost_items_may_have_had_any_score() -> None:
    before = asked([1.0] * 10)
    lost = estimate(KEY, asked([None, *[1.0] * 9]), before, -0.05, 0.95)
    worst = estimate(KEY, asked([0.0, *[1.0] * 9]), before, -0.05, 0.95)
    best = estimate(KEY, asked([1.0] * 10), before, -0.05, 0.95)
    assert None not in (lost.interval, worst.interval, best.interval)
    assert (lost.value, lost.n, lost.p) == (0.0, 9, best.p)
    assert (lost.interval.low, lost.interval.high) == (worst.interval.low, best.interval.high)  # type: ignore[union-attr]


def test_the_bare_number_is_beyond_where_it_fell_by_more() -> None:
    assert is_beyond(CRITERION, 0.5, 0.6, -0.05)
    assert not is_beyond(CRITERION, 0.58, 0.6, -0.05)
    assert not is_beyond(CRITERION, 0.5, None, -0.05)


def test_questions_turn_right_or_wrong_and_not_their_single_requests() -> None:
    changed = flips(asked([1.0, 1.0, 0.0]), asked([0.0, 1.0, 1.0]), ITEMS)
    assert (changed.n, changed.lost, changed.gained, changed.unmeasured) == (3, ["facts/0"], ["facts/2"], [])


@pytest.mark.parametrize(("relation", "value"), [("<", "joint_score"), (">", "margin")])
def test_only_a_fall_of_scores_is_judged_so(relation: Any, value: str) -> None:
    with pytest.raises(ValueError, match="change"):
        Key(
            key="bench.facts",
            title="Facts",
            items=Items(metric="bench", value=value),
            criterion=CRITERION.model_copy(update={"relation": relation}),
        )


def baseline(scores: Sequence[float]) -> Baseline:
    return Baseline(
        preference="calm",
        timestamp="",
        adapter=AdapterVersion(lora_id="calm", version=0, digest="0"),
        eval={"bench": {"facts": sum(scores) / len(scores)}},
        counts={},
        rollouts=asked(scores),
        timing_s={},
        tokens={},
    )


def step(number: int, scores: Sequence[float]) -> StepRecord:
    return StepRecord(
        preference="calm",
        step=number,
        timestamp="",
        adapter=AdapterVersion(lora_id="calm", version=number + 1, digest="1"),
        feedback_given="",
        prompts=[],
        responses=[],
        rollout_ids=[],
        sdpo_metrics={},
        eval={"bench": {"facts": sum(scores) / len(scores)}} if scores else {},
        counts={},
        rollouts=asked(scores),
        timing_s={},
        tokens={},
    )


FEW, MANY = [*[0.0] * 3, *[1.0] * 27], [*[0.0] * 15, *[1.0] * 15]
"""Of thirty items that were right, a tenth is lost, which may be noise; or half of them are."""


@pytest.mark.parametrize(
    ("after", "settings", "ends"),
    [
        (MANY, {}, False),
        (MANY, {"halt_on_regression": True}, True),
        (MANY, {"halt_on_regression": True, "criteria": {"bench_facts": -0.5}}, False),
        (FEW, {"halt_on_regression": True}, False),
        (FEW, {"halt_on_regression": True, "confirm_regression": False}, True),
        (FEW, {"halt_on_regression": True, "confirm_regression": False, "criteria": {"bench_facts": -0.1}}, False),
        ([1.0] * 30, {"halt_on_regression": True, "confirm_regression": False}, False),
    ],
)
def test_a_run_ends_at_a_drop_beyond_what_is_allowed_and_beyond_noise(
    after: list[float], settings: dict[str, Any], ends: bool
) -> None:
    config = EvalConfig(**settings)
    if not ends:
        require_no_regression(step(4, after), baseline([1.0] * 30), [KEY], config)
        return
    with pytest.raises(Regressed, match=r"step 4: regressed: bench_facts 1\.000 -> ") as ended:
        require_no_regression(step(4, after), baseline([1.0] * 30), [KEY], config)
    assert "halt_on_regression=false" in str(ended.value)


def test_the_newest_checkpoint_is_the_last_step_with_a_benchmark() -> None:
    steps = [step(0, [1.0]), step(1, [0.0]), step(2, [])]
    assert newest_checkpoint(steps, [KEY]) == steps[1]
    assert newest_checkpoint(steps[2:], [KEY]) is None
    assert newest_checkpoint(steps, []) is None
