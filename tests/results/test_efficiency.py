"""Interactions until a preference holds, and until a changed mind is followed, by hand."""

from collections.abc import Sequence

from claas.results.efficiency import Efficiency, efficiency_of, in_user_units
from claas.results.records import AdapterVersion, Baseline, Counts, History, StepRecord


def history(curve: Sequence[float | None], scored: int = 4) -> History:
    """A baseline and steps with this held-out compliance, four answers each."""
    common = {
        "preference": "a", "timestamp": "t", "timing_s": {}, "tokens": {}, "rollouts": [],
        "counts": {"sample": Counts(planned=4, scored=scored, errored=4 - scored)},
    }  # fmt: skip
    steps = [
        StepRecord(
            step=step, feedback_given="f", sdpo_metrics={},
            prompts=["p"] * scored, responses=["r"] * scored, rollout_ids=["x"] * scored,
            adapter=AdapterVersion(lora_id="x", version=step + 1, digest="d"),
            eval={"heldout_compliance": value}, **common,
        )
        for step, value in enumerate(curve[1:])
    ]  # fmt: skip
    baseline = Baseline(
        adapter=AdapterVersion(lora_id="x", version=0, digest="0"), eval={"heldout_compliance": curve[0]}, **common
    )
    return History("a", len(steps), baseline, tuple(steps))


def found(curve: Sequence[float | None], flips_at: int | None = None, scored: int = 4) -> Efficiency:
    efficiency = efficiency_of(history(curve, scored), flips_at)
    assert efficiency is not None
    return efficiency


def test_the_first_of_three_in_a_row_counts() -> None:
    efficiency = found([0.0, 0.8, 0.1, 0.8, 0.9, 1.0, 0.2])
    assert (efficiency.to_criterion.updates, efficiency.to_criterion.interactions) == (3, 12)
    assert efficiency.effort == 12
    assert not efficiency.to_criterion.censored


def test_what_never_holds_is_censored_with_what_was_made() -> None:
    efficiency = found([0.0, 0.9, 0.9, 0.7, 0.9, 0.9])
    assert (efficiency.to_criterion.interactions, efficiency.to_criterion.censored) == (None, True)
    assert (efficiency.to_criterion.made, efficiency.effort) == (20, 20)
    assert in_user_units(efficiency) == (
        "compliance is not at 0.8 or above for 3 measurements in a row in 20 interactions"
    )


def test_a_wish_that_outlives_the_flip_is_said_to() -> None:
    assert in_user_units(found([0.9, 0.9, 0.9, 0.9], flips_at=2)) == (
        "compliance stays at 0.8 or above after 0 interactions (0 updates); "
        "half of it is not yet gone 4 interactions after the flip"
    )


def test_lost_answers_are_no_interactions() -> None:
    assert found([0.0, 0.9, 0.9, 0.9], scored=3).to_criterion.interactions == 3


def test_a_model_that_shows_it_from_the_start_needs_none() -> None:
    assert found([0.9, 0.9, 0.9]).to_criterion.interactions == 0


def test_half_of_it_is_gone_where_the_curve_crosses_for_good() -> None:
    """Known from the flip at 2 on: 1.0, .7, .3, .6 (back again), .4, .2, .1; .5 is crossed between 5 and 6."""
    efficiency = found([0.0, 0.9, 1.0, 0.7, 0.3, 0.6, 0.4, 0.2, 0.1], flips_at=2)
    half = efficiency.flip_half_life
    assert half is not None
    assert half.updates is not None
    assert abs(half.updates - (3 + 0.5)) < 1e-12
    assert half.interactions is not None
    assert abs(half.interactions - 14) < 1e-12
    assert half.made == 24


def test_a_mind_that_is_not_followed_is_censored() -> None:
    half = found([0.0, 1.0, 1.0, 0.9, 0.8, 0.9], flips_at=2).flip_half_life
    assert half is not None
    assert (half.updates, half.censored, half.made) == (None, True, 12)


def test_nothing_is_said_before_the_first_step() -> None:
    assert efficiency_of(history([0.5])) is None


def test_where_there_was_nothing_to_lose_nothing_has_a_half_life() -> None:
    assert found([0.0, 0.0, 0.0, 0.0, 0.0], flips_at=2).flip_half_life is None
    assert found([0.0, 1.0, None, 0.2, 0.0, 0.0], flips_at=2).flip_half_life is None, "it is not known what was lost"
