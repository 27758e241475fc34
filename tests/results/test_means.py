"""Means and ratios over prompts against hand computation, every possible resample, published sizes, and laws."""

import math
import random
from itertools import product
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from claas.results.means import (
    fewest_identical,
    mean_interval,
    mean_p,
    mean_p_at_most,
    needed_for_mean,
    ratio_interval,
    ratio_p,
)
from claas.results.statistics import Interval

unhurried = settings(deadline=None)
samples = st.lists(st.floats(-50, 50), min_size=2, max_size=30)


def test_fewer_than_five_differences_get_student_s_interval() -> None:
    """mean 2.5, s = 1.2910, t(3) = 3.1824: half width 2.0543."""
    interval = mean_interval([1, 2, 3, 4])
    assert interval == Interval(pytest.approx(0.4457, abs=1e-4), pytest.approx(4.5543, abs=1e-4))


def test_the_p_value_of_fewer_than_five_is_student_s() -> None:
    """(2.5 - 4) / (1.2910 / 2) = -2.3238; P(t(3) < -2.3238) = 0.0514."""
    assert mean_p([1, 2, 3, 4], 4.0) == pytest.approx(0.0514, abs=5e-5)


def test_resampling_agrees_with_every_possible_resample_of_five() -> None:
    """All 5^5 of them, less those of one value five times over."""
    values = [43.0, 52.7, 69.2, 56.4, 40.9]
    mean, error = fmean(values), stdev(values) / math.sqrt(5)
    drawn = [each for each in product(values, repeat=5) if len(set(each)) > 1]
    studentised = sorted((fmean(each) - mean) / (stdev(each) / math.sqrt(5)) for each in drawn)
    for threshold in (65.0, 70.0, 80.0):
        distance = (mean - threshold) / error
        exact = sum(each <= distance for each in studentised) / len(studentised)
        student = float(t.cdf(distance, 4))
        assert mean_p(values, threshold) == pytest.approx(max(exact, student), abs=4 * math.sqrt(exact / 9999) + 1e-4)


def test_many_differences_get_an_interval_close_to_student_s() -> None:
    noise = random.Random(1)
    values = [noise.gauss(3, 2) for _ in range(40)]
    interval = mean_interval(values)
    assert interval is not None
    half = 2.0227 * stdev(values) / math.sqrt(40)
    assert interval.low <= fmean(values) - half + 1e-3
    assert interval.high >= fmean(values) + half - 1e-3
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.08)
    assert mean_interval(values) == interval, "the same data give the same interval"


def test_a_long_tail_stretches_the_interval_to_its_side() -> None:
    values = [1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 2.0, 2.4, 3.5, 6.0]
    interval = mean_interval(values)
    assert interval is not None
    assert interval.high - fmean(values) > 1.5 * (fmean(values) - interval.low)


def test_one_outlier_in_equal_values_is_no_reason_for_certainty() -> None:
    """Half of the resamples are without the outlier and have no spread: Student's t decides."""
    values = [1.0] * 9 + [0.9]
    interval = mean_interval(values)
    assert interval is not None
    assert interval.low <= 0.99 - 2.2622 * 0.01 + 1e-6
    assert interval.high >= 0.99 + 2.2622 * 0.01 - 1e-6


@pytest.mark.parametrize("size", [3, 5, 10])
def test_a_threshold_at_the_truth_is_excluded_as_rarely_as_it_should_be(size: int) -> None:
    noise = random.Random(size)
    p_values = [mean_p([noise.gauss(1, 1) for _ in range(size)], 1.0) for _ in range(600)]
    excluded = sum(p is not None and p <= 0.025 for p in p_values)
    assert 2 <= excluded <= 15 + 3 * math.sqrt(600 * 0.025 * 0.975)


@unhurried
@given(samples, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_p_value_is_that_of_the_interval_s_ends(values: list[float], confidence: float) -> None:
    interval, tail = mean_interval(values, confidence), (1 - confidence) / 2
    if interval is None or interval.high - interval.low < 1e-6:
        return
    below, above = interval.high - interval.low, interval.high + 1e-3 * (interval.high - interval.low)
    p_inside = mean_p(values, interval.high - 1e-3 * below)
    p_outside = mean_p(values, above)
    assert p_inside is not None
    assert p_outside is not None
    assert p_outside <= tail + 2e-4
    assert p_inside >= tail - 2e-4


@unhurried
@given(samples)
def test_a_p_value_and_that_of_the_opposite_are_at_least_one_together(values: list[float]) -> None:
    low, high = mean_p(values, 0.0), mean_p_at_most(values, 0.0)
    if low is None or high is None:
        assert low is high
        return
    assert low + high >= 1 - 1e-9
    assert high == pytest.approx(mean_p([-value for value in values], 0.0), abs=1e-9)


def test_equal_values_are_no_evidence_until_there_are_enough() -> None:
    assert fewest_identical(0.95) == 6
    assert fewest_identical(0.75) == 3
    assert mean_interval([2.0]) is None
    assert mean_interval([2.0] * 5) is None
    assert mean_interval([2.0] * 6) == Interval(2.0, 2.0)
    assert needed_for_mean([2.0] * 3, 1.0) == 6


def test_equal_values_say_as_much_as_their_signs_do() -> None:
    assert mean_p([2.0] * 5, 3.0) == 1 / 32
    assert mean_p([2.0] * 5, 2.0) == 1.0
    assert mean_p([2.0], 3.0) is None
    interval = mean_interval([2.0] * 6, 1 - 2 / 2**6)
    assert interval is not None, "at the confidence whose tail is 2^-6 six are just enough"
    assert mean_interval([2.0] * 6, 1 - 1.9 / 2**6) is None


@unhurried
@given(samples, st.floats(-20, 20))
def test_mean_intervals_contain_the_mean_and_move_with_the_data(values: list[float], shift: float) -> None:
    interval, moved = mean_interval(values), mean_interval([value + shift for value in values])
    if interval is None or moved is None or max(values) - min(values) < 1e-3:
        return
    mean = sum(values) / len(values)
    assert interval.low - 1e-9 <= mean <= interval.high + 1e-9
    assert moved.low == pytest.approx(interval.low + shift, abs=1e-6)


def test_a_ratio_of_few_pairs_is_linearised() -> None:
    """after / before = 6 / 9; residuals ±1/9 and 0: s = 1/9, t(2) = 4.3027, half width 4.3027 / 9 / sqrt(3)."""
    interval = ratio_interval([1, 2, 3], [2, 3, 4])
    half = 4.3027 / 9 / math.sqrt(3)
    assert interval == Interval(pytest.approx(2 / 3 - half, abs=1e-4), pytest.approx(2 / 3 + half, abs=1e-4))


def test_a_ratio_of_many_pairs_is_resampled_in_pairs() -> None:
    before = [1.0 + index for index in range(20)]
    noisy = [0.5 * value + (-1) ** index * 0.2 for index, value in enumerate(before)]
    interval = ratio_interval(noisy, before)
    assert interval is not None
    assert 0.48 < interval.low < 0.5 < interval.high < 0.52


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_a_ratio_excludes_a_threshold_exactly_when_its_p_value_is_small(confidence: float) -> None:
    noise = random.Random(7)
    before = [noise.uniform(0.3, 0.8) for _ in range(10)]
    after = [0.6 * value * noise.uniform(0.8, 1.2) for value in before]
    interval = ratio_interval(after, before, confidence)
    assert interval is not None
    for step, excluded in ((0.999, False), (1.001, True)):
        p = ratio_p(after, before, interval.high * step)
        assert p is not None
        assert (p <= (1 - confidence) / 2 + 1e-4) is excluded


def test_a_mean_is_the_ratio_to_ones_and_scales_do_not_matter() -> None:
    values = [0.4, 0.7, 0.1, 0.9, 0.5, 0.6]
    assert ratio_interval(values, [1.0] * 6) == mean_interval(values)
    scaled = ratio_interval([10 * value for value in values], [10.0] * 6)
    plain = mean_interval(values)
    assert scaled is not None
    assert plain is not None
    assert (scaled.low, scaled.high) == (pytest.approx(plain.low), pytest.approx(plain.high))


def test_a_ratio_to_nothing_is_none() -> None:
    assert ratio_interval([1, 2], [0, 0]) is None
    assert ratio_p([1, 2], [0, 0], 0.5) is None
    assert ratio_interval([], []) is None
    with pytest.raises(ValueError, match="equal lengths"):
        ratio_interval([1], [1, 2])


@pytest.mark.parametrize(("effect", "needed"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_needed_clusters_are_the_published_ones(effect: float, needed: int) -> None:
    """Sample sizes of the one-sample t-test, two-sided at 5 %, 80 % power (Cohen 1988; G*Power, R's pwr)."""
    assert needed_for_mean([effect - 1.0, effect, effect + 1.0], 0.0) == needed


def test_a_mean_next_to_its_threshold_needs_very_many_and_is_answered_at_once() -> None:
    needed = needed_for_mean([0.0, 1.0, 2.0], 1.0 - 1e-6)
    assert needed == pytest.approx((1.959964 + 0.841621) ** 2 * 1e12, rel=1e-5)


def test_no_size_is_needed_where_none_would_help() -> None:
    assert needed_for_mean([0.0, 1.0, 2.0], 1.0) is None
    assert needed_for_mean([0.1, 0.2, 0.3], 0.2) is None, "a mean of 0.2 up to rounding"
    assert needed_for_mean([1.0], 0.0) is None
    assert needed_for_mean([], 0.0) is None
