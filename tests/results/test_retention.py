"""The ratio of paired pass rates against published examples, and laws."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.results.statistics import needed_for_retention, retention_interval, retention_p, wilson

unhurried = settings(deadline=None)
score_pairs = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1)


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
    assert needed_for_retention([1.0] * 9 + [0.0], [1.0] * 10, 0.9) is None, "the ratio is the threshold"


@unhurried
@given(score_pairs, st.sampled_from([0.7, 0.9, 0.99]))
def test_at_its_ends_the_interval_has_the_p_value_of_its_side(
    pairs: list[tuple[float, float]], confidence: float
) -> None:
    after, before = [new for new, _ in pairs], [old for _, old in pairs]
    interval = retention_interval(after, before, confidence)
    if interval is None:
        assert retention_p(after, before, 0.9) is None
        return
    tail = (1 - confidence) / 2
    assert retention_p(after, before, interval.high) == pytest.approx(tail, abs=1e-4)
    if interval.low > 1e-6:
        assert retention_p(after, before, interval.low) == pytest.approx(1 - tail, abs=1e-4)


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


def test_retention_misses_the_truth_on_either_side_as_rarely_as_it_says() -> None:
    noise, ratio = random.Random(5), (0.8 * 0.9 + 0.2 * 0.3) / 0.8
    missed = {"above": 0, "below": 0}
    for _ in range(2000):
        before = [float(noise.random() < 0.8) for _ in range(46)]
        p = retention_p([float(noise.random() < (0.9 if old else 0.3)) for old in before], before, ratio)
        assert p is not None
        missed["below"] += p <= 0.025
        missed["above"] += p >= 0.975
    assert max(missed.values()) <= 0.025 * 2000 + 3 * (0.025 * 0.975 * 2000) ** 0.5
    assert min(missed.values()) >= 10, "an interval that never misses is too wide"


def _pairs(both: int, only_after: int, only_before: int, neither: int) -> tuple[list[float], list[float]]:
    after = [1.0] * (both + only_after) + [0.0] * (only_before + neither)
    before = [1.0] * both + [0.0] * only_after + [1.0] * only_before + [0.0] * neither
    return after, before
