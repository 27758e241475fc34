import pytest

from claas.eval.metrics.logprob import LogprobMargin
from claas.results.records import Counts
from tests.eval.metrics.subjects import measure, measured_again, subject
from tests.fakes.stack import FakeStack

SCORES = {
    "yes one": (-1.0, -2.0),  # -3
    "no one": (-4.0, -1.0, -1.0, -2.0),  # -8: margin 5, per token -1.5 + 2 = 0.5
    "yes two": (-3.0,),  # -3
    "no two": (-1.0, -1.0),  # -2: margin -1, per token -3 + 1 = -2
}


def test_values_are_the_hand_computed_ones() -> None:
    found = measure(LogprobMargin(), subject(FakeStack(scores=SCORES)))
    assert found.values == {
        "logprob_margin": {
            "positive_logprob": pytest.approx(-3.0),
            "negative_logprob": pytest.approx(-5.0),
            "margin": pytest.approx(2.0),
            "margin_delta_from_baseline": 0.0,
            "margin_per_token": pytest.approx(-0.75),
        }
    }
    assert found.counts == {"logprob_margin": Counts(planned=2, scored=2, errored=0)}
    assert [rollout.item for rollout in found.rollouts] == [
        "pair/0/positive",
        "pair/0/negative",
        "pair/1/positive",
        "pair/1/negative",
    ]


def test_the_margin_moves_against_baseline() -> None:
    moved = SCORES | {"yes one": (-1.0, -1.0), "no two": (-1.0, -4.0)}
    values = measured_again(LogprobMargin(), FakeStack(scores=SCORES), FakeStack(scores=moved)).values
    assert values["logprob_margin"] == {
        "positive_logprob": pytest.approx(-2.5),
        "negative_logprob": pytest.approx(-6.5),
        "margin": pytest.approx(4.0),
        "margin_delta_from_baseline": pytest.approx(2.0),
        "margin_per_token": pytest.approx((1.0 + -0.5) / 2),
    }


def test_a_pair_with_a_lost_side_is_left_out_of_every_mean() -> None:
    found = measured_again(LogprobMargin(), FakeStack(scores=SCORES), FakeStack(scores=SCORES, lost={"no one"}))
    assert found.values["logprob_margin"] == {
        "positive_logprob": pytest.approx(-3.0),
        "negative_logprob": pytest.approx(-2.0),
        "margin": pytest.approx(-1.0),
        "margin_delta_from_baseline": pytest.approx(0.0),  # over pair 1 alone, both times
        "margin_per_token": pytest.approx(-2.0),
    }
    assert found.counts["logprob_margin"] == Counts(planned=2, scored=1, errored=1)
    assert sum(rollout.error is not None for rollout in found.rollouts) == 1


def test_a_pair_lost_at_baseline_has_no_delta() -> None:
    later = SCORES | {"no two": (-9.0, -9.0)}
    found = measured_again(LogprobMargin(), FakeStack(scores=SCORES, lost={"yes one"}), FakeStack(scores=later))
    values = found.values["logprob_margin"]
    assert isinstance(values, dict)
    assert values["margin"] == pytest.approx((5.0 + 15.0) / 2)
    assert values["margin_delta_from_baseline"] == pytest.approx(16.0)


def test_the_mean_of_nothing_is_none() -> None:
    found = measured_again(LogprobMargin(), FakeStack(scores=SCORES), FakeStack(lost=set(SCORES)))
    values = found.values["logprob_margin"]
    assert isinstance(values, dict)
    assert set(values.values()) == {None}
    assert found.counts["logprob_margin"] == Counts(planned=2, scored=0, errored=2)


def test_it_is_due_at_every_step() -> None:
    assert all(LogprobMargin().due(step, frozenset()) for step in (None, 0, 7))
