"""Intervals, tests and sample sizes against published examples, hand computation, and laws."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.eval.verdicts.statistics import (
    Interval,
    fewest_identical,
    holm,
    mcnemar_exact,
    mean_interval,
    needed_for_mean,
    needed_for_retention,
    needed_for_wilson,
    ratio_interval,
    retention_interval,
    wilson,
)

unhurried = settings(deadline=None)
proportions = st.integers(1, 300).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n)))
samples = st.lists(st.floats(-50, 50), min_size=2, max_size=30)
score_pairs = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857, table I, method 3."""
    interval = wilson(successes, n)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_wilson_is_what_the_design_promises_for_held_out_prompts() -> None:
    assert wilson(60, 64).low == pytest.approx(0.85, abs=0.005)
    assert wilson(3, 3).low == pytest.approx(0.44, abs=0.005)


@unhurried
@given(proportions)
def test_wilson_is_bounded_contains_the_rate_and_mirrors(case: tuple[float, int]) -> None:
    successes, n = case
    interval, mirrored = wilson(successes, n), wilson(n - successes, n)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-9)


@unhurried
@given(proportions)
def test_wilson_narrows_with_n_and_widens_with_confidence(case: tuple[float, int]) -> None:
    successes, n = case
    assert _width(wilson(4 * successes, 4 * n)) < _width(wilson(successes, n))
    assert _width(wilson(successes, n, 0.8)) < _width(wilson(successes, n, 0.99))


def test_wilson_refuses_what_is_no_proportion() -> None:
    for successes, n in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="needs"):
            wilson(successes, n)


@unhurried
@given(st.floats(0, 1), st.floats(0.05, 0.95))
def test_the_needed_n_is_the_first_that_concludes(rate: float, threshold: float) -> None:
    needed = needed_for_wilson(rate, threshold)
    if needed is None or needed > 10**7:
        return
    assert not _straddles(wilson(rate * needed, needed), threshold)
    if needed > 1 and abs(rate - threshold) > 1e-6:
        before = needed - 1
        bounds = wilson(rate * before, before)
        assert bounds.low <= threshold + 1e-9
        assert bounds.high >= threshold - 1e-9


def test_sixteen_perfect_answers_are_needed_to_show_point_eight() -> None:
    assert needed_for_wilson(1.0, 0.8) == 16
    assert wilson(15, 15).low < 0.8 < wilson(16, 16).low
    assert needed_for_wilson(0.8, 0.8) is None


@pytest.mark.parametrize(("table", "low", "high"), [((1, 1, 7, 12), 0.0653, 0.9069), ((59, 6, 16, 80), 0.7476, 0.9876)])
def test_retention_gives_the_published_intervals(table: tuple[int, int, int, int], low: float, high: float) -> None:
    """Fagerland, Lydersen & Laake (2014), Statistics in Medicine 33:2850: Bentur et al., and Cavo et al."""
    interval = retention_interval(*_pairs(*table))
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize("n", [1, 5, 34, 35, 100])
def test_with_nothing_lost_retention_is_wilson(n: int) -> None:
    interval = retention_interval([1.0] * n, [1.0] * n)
    assert interval is not None
    assert interval.low == pytest.approx(wilson(n, n).low, abs=1e-6)


def test_thirty_five_unharmed_items_are_needed_to_show_point_nine() -> None:
    assert needed_for_retention([1.0] * 10, [1.0] * 10, 0.9) == 35


@unhurried
@given(score_pairs)
def test_retention_contains_its_ratio_and_its_inverse_is_the_swapped_one(pairs: list[tuple[float, float]]) -> None:
    after, before = [new for new, _ in pairs], [old for _, old in pairs]
    interval = retention_interval(after, before)
    if interval is None:
        assert sum(before) == 0
        return
    assert 0 <= interval.low <= sum(after) / sum(before) <= interval.high < math.inf
    swapped = retention_interval(before, after)
    if swapped is not None and interval.low > 0:
        assert swapped.high == pytest.approx(1 / interval.low, rel=1e-3)


def test_retention_covers_the_truth_as_often_as_it_says() -> None:
    noise = random.Random(5)
    hits = 0
    for _ in range(300):
        before = [float(noise.random() < 0.8) for _ in range(40)]
        after = [float(noise.random() < (0.9 if old else 0.3)) for old in before]
        interval = retention_interval(after, before)
        assert interval is not None
        hits += interval.low <= (0.8 * 0.9 + 0.2 * 0.3) / 0.8 <= interval.high
    assert 0.92 <= hits / 300 <= 0.98


def test_a_few_differences_get_student_s_interval() -> None:
    """mean 3, s = 1.5811, t(4) = 2.7764: half width 1.9632."""
    interval = mean_interval([1, 2, 3, 4, 5])
    assert interval == Interval(pytest.approx(1.0368, abs=1e-4), pytest.approx(4.9632, abs=1e-4))


def test_many_differences_get_a_bootstrap_close_to_student_s() -> None:
    noise = random.Random(1)
    values = [noise.gauss(3, 2) for _ in range(40)]
    interval = mean_interval(values)
    assert interval is not None
    mean = sum(values) / 40
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 39)
    assert interval.high - interval.low == pytest.approx(2 * 2.0227 * spread / math.sqrt(40), rel=0.06)
    assert mean_interval(values) == interval, "the same data give the same interval"


@pytest.mark.parametrize("size", [5, 14])
def test_mean_intervals_cover_the_truth_as_often_as_they_say(size: int) -> None:
    noise = random.Random(size)
    intervals = [mean_interval([noise.gauss(1, 1) for _ in range(size)]) for _ in range(300)]
    hits = sum(interval is not None and interval.low <= 1 <= interval.high for interval in intervals)
    assert 0.92 <= hits / 300 <= 0.985


def test_equal_values_are_no_evidence_until_there_are_enough() -> None:
    assert fewest_identical(0.95) == 6
    assert fewest_identical(0.75) == 3
    assert mean_interval([2.0]) is None
    assert mean_interval([2.0] * 5) is None
    assert mean_interval([2.0] * 6) == Interval(2.0, 2.0)
    assert needed_for_mean([2.0] * 3, 1.0) == 6


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


def test_a_ratio_to_nothing_is_none() -> None:
    assert ratio_interval([1, 2], [0, 0]) is None
    assert ratio_interval([], []) is None
    with pytest.raises(ValueError, match="equal lengths"):
        ratio_interval([1], [1, 2])


def test_the_needed_clusters_by_hand() -> None:
    """mean 1, s = 1: t / sqrt(n) is 1.05 at six clusters and 0.92 at seven."""
    assert needed_for_mean([0.0, 1.0, 2.0], 0.0) == 7
    assert needed_for_mean([0.0, 1.0, 2.0], 1.0) is None
    assert needed_for_mean([1.0], 0.0) is None


def test_mcnemar_gives_the_published_p_value() -> None:
    """Fagerland, Lydersen & Laake (2013), BMC Medical Research Methodology 13:91: Cavo et al., 6 against 16."""
    assert mcnemar_exact(16, 6) == pytest.approx(0.052479, abs=1e-6)
    assert mcnemar_exact(6, 16) == mcnemar_exact(16, 6)
    assert mcnemar_exact(0, 0) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@unhurried
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(raw <= new <= 1 for raw, new in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert [adjusted[index] for index in order] == sorted(adjusted)


def _width(interval: Interval) -> float:
    return interval.high - interval.low


def _straddles(interval: Interval, threshold: float) -> bool:
    return interval.low < threshold - 1e-9 and interval.high > threshold + 1e-9


def _pairs(both: int, only_after: int, only_before: int, neither: int) -> tuple[list[float], list[float]]:
    after = [1.0] * (both + only_after) + [0.0] * (only_before + neither)
    before = [1.0] * both + [0.0] * only_after + [1.0] * only_before + [0.0] * neither
    return after, before
