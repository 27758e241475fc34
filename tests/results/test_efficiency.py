"""Interactions until a preference holds, and until a changed mind is followed, by hand."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pytest

from claas.eval.config.catalog import load_preference
from claas.eval.metrics.compliance import Compliance
from claas.eval.metrics.preference import Flipped
from claas.results.efficiency import Efficiency, efficiency_of, flip_of, in_user_units
from claas.results.figure import draw_flips
from claas.results.look import look_of
from claas.results.records import AdapterVersion, Baseline, Counts, History, StepRecord, Transcript
from claas.results.verdict import Verdict, judge_run


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
    assert in_user_units(found([0.1, 0.9, 0.9, 0.9, 0.9], flips_at=3)) == (
        "compliance stays at 0.8 or above after 4 interactions (1 updates); "
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


def flipping(before: Sequence[int], at_flip: Sequence[int], after: Sequence[int]) -> History:
    """Scores of the first wish by prompt, at baseline, after the one update before the flip, and after the other; the
    opposite is had where the first wish is not."""

    def answered(scores: Sequence[int]) -> list[Transcript]:
        return [
            Transcript(
                metric="compliance",
                item=f"heldout/{place}",
                prompt="p",
                response="r",
                verdict={"score": float(score), "passed": bool(score), "opposite": 1.0 - score},
            )
            for place, score in enumerate(scores)
        ]

    made = history([fmean(scores) for scores in (before, at_flip, after)])
    assert made.baseline is not None
    records = [
        record.model_copy(
            update={
                "rollouts": answered(scores),
                "eval": {"heldout_compliance": fmean(scores), "opposite_compliance": 1 - fmean(scores)},
            }
        )
        for record, scores in zip((made.baseline, *made.steps), (before, at_flip, after), strict=True)
    ]
    keys = Compliance().keys_for(Flipped.of(load_preference("concise"), 1))
    return replace(made, baseline=records[0], steps=tuple(records[1:]), keys=keys)


def test_a_flip_passes_where_the_first_wish_was_learned_and_the_opposite_is_had() -> None:
    learned, judged = flipping((0,) * 64, (1,) * 64, (0,) * 64), {"a": 1}
    [judgement] = judge_run([learned], {}, 1, judged)
    assert judgement.verdict is Verdict.PASS


@pytest.mark.parametrize("base", [0, 1])
def test_a_first_wish_that_was_never_learned_leaves_nothing_to_forget(base: int) -> None:
    """It was never had, or had before anything was said."""
    never = flipping((base,) * 64, (base,) * 64, (0,) * 64)
    [judgement] = judge_run([never], {}, 1, {"a": 1})
    ruling = judgement.criteria["opposite_compliance"]
    note = "nothing to forget: the first wish is not shown to be learned before the flip"
    assert (ruling.verdict, ruling.note) == (Verdict.INCONCLUSIVE, note)
    assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, f"undecided: opposite_compliance: {note}")


def test_both_wishes_are_curves_over_interactions_with_the_half_life() -> None:
    made = flipping((0,) * 4, (1,) * 4, (0,) * 4)
    flip = flip_of(made, 1)
    assert flip is not None
    assert (flip.first, flip.opposite) == ({0: 0, 4: 1, 8: 0}, {0: 1, 4: 0, 8: 1})
    assert (flip.at, flip.half_gone) == (4, None), "one measurement below half is not three"
    assert flip_of(made, None) is None
    picture = draw_flips({"a": flip, "b": replace(flip, half_gone=6.0)}, "run r", look_of())
    assert picture.startswith(b"\x89PNG")


def test_nothing_is_said_before_the_first_step() -> None:
    assert efficiency_of(history([0.5])) is None


def test_what_was_there_before_anything_was_said_was_not_learned_and_has_no_half_life() -> None:
    assert found([0.3, 0.3, 0.3, 0.0, 0.0, 0.0], flips_at=2).flip_half_life is None


def test_measuring_less_often_counts_the_interactions_in_between() -> None:
    """Measured after 0, 3, 6, 9 and 12 updates of four answers each."""
    history_of = history([0.0] * 13)
    at = {0: 0.1, 3: 0.5, 6: 0.9, 9: 0.8, 12: 1.0}
    steps = [
        step.model_copy(update={"eval": {"heldout_compliance": at[step.step + 1]} if step.step + 1 in at else {}})
        for step in history_of.steps
    ]
    efficiency = efficiency_of(replace(history_of, steps=tuple(steps)))
    assert efficiency is not None
    assert (efficiency.to_criterion.updates, efficiency.to_criterion.interactions) == (6, 24)
    assert (efficiency.to_criterion.made, efficiency.effort) == (48, 24)


def test_where_there_was_nothing_to_lose_nothing_has_a_half_life() -> None:
    assert found([0.0, 0.0, 0.0, 0.0, 0.0], flips_at=2).flip_half_life is None
    assert found([0.0, 1.0, None, 0.2, 0.0, 0.0], flips_at=2).flip_half_life is None, "it is not known what was lost"
