"""Means and ratios over prompts against hand computation, integration, samples drawn anew, and laws."""

import math
import random
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import gamma

from claas.results.means import (
    fewest_identical,
    mean_interval,
    mean_p,
    mean_p_at_most,
    needed_for_mean,
    ratio_interval,
    ratio_p,
    student_interval,
)
from claas.results.statistics import Interval

unhurried = settings(deadline=None)
samples = st.lists(st.floats(-50, 50), min_size=2, max_size=30)


def test_two_values_have_the_p_value_that_integration_gives() -> None:
    """Of two exponential values, standard deviation / mean is sqrt(2) U, U uniform and independent of their mean; that
    is Gamma(2)/2. So the statistic is below -c where the mean is below 1 / (1 + c U)."""
    statistic = (2.0 - 5.0) / (math.sqrt(2) / math.sqrt(2))  # of 1 and 3 against 5
    exact, _ = quad(lambda u: gamma.cdf(2 / (1 - statistic * u), 2), 0, 1)
    assert mean_p([1.0, 3.0], 5.0) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("size", [3, 5, 10, 40])
def test_means_of_exponential_samples_are_missed_as_often_as_they_should_be(size: int) -> None:
    """Drawn anew, on the side of the long tail; on the other one next to never."""
    drawn = np.random.default_rng(size).standard_exponential((6000, size))
    half = _half_width(size) * drawn.std(axis=1, ddof=1) / math.sqrt(size)
    means = drawn.mean(axis=1)
    assert (means + half < 1).mean() == pytest.approx(0.025, abs=4 * math.sqrt(0.025 / 6000))
    assert (means - half > 1).mean() < 0.005


@pytest.mark.parametrize("size", [3, 5, 10, 40])
def test_means_of_normal_samples_are_missed_more_rarely(size: int) -> None:
    drawn = np.random.default_rng(size).standard_normal((6000, size))
    half = _half_width(size) * drawn.std(axis=1, ddof=1) / math.sqrt(size)
    assert (np.abs(drawn.mean(axis=1)) > half).mean() < 0.025


def _half_width(size: int) -> float:
    """In standard errors, of an interval over so many values."""
    values = [float(index) for index in range(size)]
    interval = mean_interval(values)
    assert interval is not None
    return (interval.high - fmean(values)) / (stdev(values) / math.sqrt(size))


def test_many_values_get_an_interval_close_to_student_s() -> None:
    noise = random.Random(1)
    values = [noise.gauss(3, 2) for _ in range(2000)]
    interval, student = mean_interval(values), student_interval(values, 0.95)
    assert interval is not None
    assert student is not None
    assert interval.high - interval.low == pytest.approx(student.high - student.low, rel=0.05)
    assert interval.low < student.low
    assert mean_interval(values) == interval, "the same data give the same interval"


def test_values_of_seeds_get_student_s() -> None:
    """mean 2.5, s = 1.2910, t(3) = 3.1824: half width 2.0543."""
    interval = student_interval([1, 2, 3, 4], 0.95)
    assert interval == Interval(pytest.approx(0.4457, abs=1e-4), pytest.approx(4.5543, abs=1e-4))
    assert student_interval([1.0], 0.95) is None
    assert student_interval([1.0] * 5, 0.95) is None, "equal seeds are no certainty"
    assert student_interval([1.0] * 6, 0.95) == Interval(1.0, 1.0)


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


def test_the_error_of_a_ratio_is_linearised() -> None:
    """after / before = 6 / 9; residuals ±1/9 and 0: s = 1/9, standard error 1/9 / sqrt(3)."""
    interval = ratio_interval([1, 2, 3], [2, 3, 4])
    half = _half_width(3) / 9 / math.sqrt(3)
    assert interval == Interval(pytest.approx(2 / 3 - half, abs=1e-4), pytest.approx(2 / 3 + half, abs=1e-4))


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


@pytest.mark.parametrize(("effect", "of_student"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_somewhat_more_clusters_are_needed_than_for_student_s_test(effect: float, of_student: int) -> None:
    """Its sample sizes are published: one sample, two-sided at 5 %, 80 % power (Cohen 1988; G*Power, R's pwr)."""
    values = [effect - 1.0, effect, effect + 1.0]
    needed = needed_for_mean(values, 0.0)
    assert needed is not None
    assert of_student < needed < 2 * of_student


def test_a_mean_next_to_its_threshold_needs_very_many_and_is_answered_at_once() -> None:
    needed = needed_for_mean([0.0, 1.0, 2.0], 1.0 - 1e-6)
    assert needed == pytest.approx((1.959964 + 0.841621) ** 2 * 1e12, rel=0.05)


def test_no_size_is_needed_where_none_would_help() -> None:
    assert needed_for_mean([0.0, 1.0, 2.0], 1.0) is None
    assert needed_for_mean([0.1, 0.2, 0.3], 0.2) is None, "a mean of 0.2 up to rounding"
    assert needed_for_mean([1.0], 0.0) is None
    assert needed_for_mean([], 0.0) is None
