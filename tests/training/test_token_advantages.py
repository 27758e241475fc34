"""Advantages, gain and alignment of the policy gradient, against values worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.errors import InvalidInput
from claas.training.example import TrainingExample
from claas.training.token_advantages import MOST_GAIN, TARGET_ABS_MEAN, Judged, adaptive_gain, advantages, datum

ITEM = TrainingExample((5, 6), (5, 6, 9), (7, 8), (-1.0, -2.0))


def test_strong_signals_are_taken_as_they_are() -> None:
    judged = Judged(sampling=(-1.0, -2.0), student=(-1.0, -2.0), teacher=(-0.5, -3.0))
    made = advantages([ITEM], [judged], is_clip=5.0)
    assert made.data[0].advantages == (0.0, 0.5, -1.0)
    assert made.metrics == pytest.approx(
        {
            "adv_mean": -0.25,
            "adv_abs_mean": 0.75,
            "adv_abs_mean_raw": 0.75,
            "kl_mean": 0.25,
            "kl_gain": 1.0,
            "effective_kl_coef": 1.0,
            "mean_is_ratio": 1.0,
            "clip_fraction": 0.0,
            "completion_len": 2.0,
            "tokens_processed": 2.0,
            "batch_size": 1.0,
        }
    )


@pytest.mark.parametrize(
    ("abs_mean", "gain"), [(0.75, 1.0), (0.03, 1.0), (0.015, 2.0), (0.0075, 4.0), (0.001, 4.0), (0.0, 1.0)]
)
def test_the_gain_raises_weak_signals_to_the_target_and_not_beyond_four(abs_mean: float, gain: float) -> None:
    assert adaptive_gain(abs_mean) == pytest.approx(gain)


@given(st.floats(0, 100))
def test_the_gain_is_bounded_and_never_overshoots_the_target(abs_mean: float) -> None:
    gain = adaptive_gain(abs_mean)
    assert 1.0 <= gain <= MOST_GAIN
    assert gain * abs_mean <= max(TARGET_ABS_MEAN, abs_mean) * (1 + 1e-9)


def test_one_gain_for_the_whole_batch_keeps_the_relative_weights() -> None:
    weak = Judged((-1.0, -2.0), (-1.0, -2.0), (-1.01, -1.99))
    strong = Judged((-1.0,), (-1.0,), (-0.98,))
    made = advantages([ITEM, TrainingExample((1,), (1,), (2,), (-1.0,))], [weak, strong], is_clip=5.0)
    raw = (0.01 + 0.01 + 0.02) / 3
    assert made.metrics["kl_gain"] == pytest.approx(0.03 / raw)
    assert made.metrics["adv_abs_mean"] == pytest.approx(0.03)
    assert made.data[0].advantages == pytest.approx((0.0, -0.01 * 0.03 / raw, 0.01 * 0.03 / raw))
    assert made.data[1].advantages == pytest.approx((0.02 * 0.03 / raw,))


def test_a_ratio_beyond_its_cap_is_cut_to_it() -> None:
    """The loss multiplies by student / sampler = 8; with a cap of 2 a quarter of the advantage is left."""
    judged = Judged((-3.0, -1.0), (-3.0 + math.log(8), -1.0), (-3.0 + math.log(8) + 1.0, 0.0))
    made = advantages([ITEM], [judged], is_clip=2.0)
    assert made.data[0].advantages == pytest.approx((0.0, 0.25, 1.0))
    assert made.metrics["clip_fraction"] == 0.5
    assert made.metrics["mean_is_ratio"] == pytest.approx(1.5)


def test_targets_are_shifted_right_by_one() -> None:
    made = datum(TrainingExample((5, 6, 7), (1,), (8, 9), (-1.0, -2.0)), (0.5, -0.5))
    assert made.input_ids == (5, 6, 7, 8)
    assert made.target_ids == (6, 7, 8, 9)
    assert made.logprobs == (0.0, 0.0, -1.0, -2.0)
    assert made.advantages == (0.0, 0.0, 0.5, -0.5)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_every_advantage_stands_at_the_token_it_is_about(prompt: list[int], answer: list[int]) -> None:
    row = [float(index + 1) for index in range(len(answer))]
    made = datum(TrainingExample(tuple(prompt), (1,), tuple(answer), (-1.0,) * len(answer)), row)
    assert len(made.input_ids) == len(made.target_ids) == len(made.logprobs) == len(made.advantages)
    judged = [(token, value) for token, value in zip(made.target_ids, made.advantages, strict=True) if value]
    assert judged == list(zip(answer, row, strict=True))


@pytest.mark.parametrize("teacher", [(-1.0,), (-1.0, math.nan), (-1.0, -math.inf)])
def test_logprobs_that_cannot_be_trained_on_are_refused(teacher: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput):
        Judged((-1.0, -1.0), (-1.0, -1.0), teacher)
