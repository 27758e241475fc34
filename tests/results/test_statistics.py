"""Proportions, paired counts and families of tests against published examples, hand computation, and laws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from claas.results.statistics import Interval, holm, mcnemar_exact, needed_for_proportion, proportion_p, wilson

unhurried = settings(deadline=None)
proportions = st.integers(1, 300).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n)))


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


def test_wilson_misses_a_true_point_eight_as_often_as_its_docstring_says() -> None:
    missed = {n: _missed(n, 0.8) for n in range(16, 257)}
    assert missed[64] == (pytest.approx(0.018, abs=5e-4), pytest.approx(0.022, abs=5e-4))
    assert max(above for above, _ in missed.values()) == pytest.approx(0.029, abs=5e-4)
    assert max(below for _, below in missed.values()) == pytest.approx(0.051, abs=5e-4)


@pytest.mark.parametrize(
    ("successes", "n", "high"), [(81, 263, 0.3676), (15, 148, 0.1617), (0, 20, 0.1684), (1, 29, 0.1776)]
)
def test_the_exact_p_value_is_that_of_the_published_limits(successes: int, n: int, high: float) -> None:
    """Newcombe (1998), table I, method 5: at the upper Clopper-Pearson limit one side's p-value is 2.5 %."""
    assert proportion_p(successes, n, high) == pytest.approx(0.025, abs=2e-4)


def test_the_exact_p_value_by_hand() -> None:
    """P(at most 1 of 3) at 0.8 is 0.2^3 + 3 * 0.8 * 0.2^2."""
    assert proportion_p(1, 3, 0.8) == pytest.approx(0.104)
    assert proportion_p(3, 3, 0.8) == 1.0
    assert proportion_p(0, 3, 1.0) == 0.0


@given(st.integers(1, 150), st.floats(0.01, 0.99), st.floats(0.01, 0.2))
def test_the_exact_p_value_never_rejects_more_often_than_it_says(n: int, threshold: float, level: float) -> None:
    rejecting = [k for k in range(n + 1) if proportion_p(k, n, threshold) <= level]
    assert sum(binom.pmf(rejecting, n, threshold)) <= level + 1e-12


@unhurried
@given(proportions, st.floats(0.01, 0.98))
def test_the_exact_p_value_falls_with_the_threshold_and_rises_with_the_rate(
    case: tuple[float, int], threshold: float
) -> None:
    successes, n = case
    p = proportion_p(successes, n, threshold)
    assert 0 <= proportion_p(successes, n, threshold + 0.01) <= p + 1e-12
    assert proportion_p(successes / 2, n, threshold) <= p + 1e-12 <= 1 + 1e-9


def test_sixteen_perfect_answers_are_needed_to_show_point_eight() -> None:
    assert needed_for_proportion(1.0, 0.8) == 16
    assert wilson(15, 15).low < 0.8 < wilson(16, 16).low
    assert needed_for_proportion(0.8, 0.8) is None


def test_the_needed_proportion_by_hand() -> None:
    """(1.959964 * 0.5 + 0.841621 * sqrt(0.24))² / 0.1² = 193.8."""
    assert needed_for_proportion(0.6, 0.5) == 194


def test_mcnemar_gives_the_published_p_value() -> None:
    """Fagerland, Lydersen & Laake (2013), BMC Medical Research Methodology 13:91: Cavo et al., 6 against 16."""
    assert mcnemar_exact(16, 6) == pytest.approx(0.052479, abs=1e-6)
    assert mcnemar_exact(6, 16) == mcnemar_exact(16, 6)
    assert mcnemar_exact(0, 0) == 1.0


def test_mcnemar_by_hand() -> None:
    """Bentur et al. (2009) as in Fagerland et al. 2013, 1 against 7: 2 (1 + 8) / 2^8."""
    assert mcnemar_exact(7, 1) == pytest.approx(18 / 256)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_holm_gives_the_published_adjustment() -> None:
    """SAS/STAT 9.2 user's guide, PROC MULTTEST, output 60.5.2: the least of 24 p-values, 0.03498, becomes 0.8395."""
    assert holm([0.03498, 0.05254], family=24) == pytest.approx([0.8395, 1.0], abs=5e-5)


def test_holm_rejects_the_published_hypotheses() -> None:
    """Benjamini & Hochberg (1995), section 4: of these fifteen, Bonferroni and Hochberg alike reject three at 0.05,
    and so does Holm, which lies between them."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719]
    adjusted = holm([*p_values, 0.6528, 0.7590, 1.0])
    assert [p <= 0.05 for p in adjusted] == [True] * 3 + [False] * 12
    assert adjusted[:4] == pytest.approx([15 * 0.0001, 14 * 0.0004, 13 * 0.0019, 12 * 0.0095])


def test_what_was_not_tested_counts_as_never_rejected() -> None:
    assert holm([0.01, 0.002], family=5) == pytest.approx([0.04, 0.01])
    assert holm([0.01, 0.002], family=5) == holm([0.01, 0.002, 1.0, 1.0, 1.0])[:2]
    with pytest.raises(ValueError, match="a family of 1 has no 2 p-values"):
        holm([0.1, 0.2], family=1)


@unhurried
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.lists(st.floats(0, 1), max_size=6))
def test_testing_more_of_a_family_never_takes_a_rejection_back(first: list[float], later: list[float]) -> None:
    family = len(first) + len(later)
    before, after = holm(first, family), holm(first + later, family)
    assert all(new <= old for old, new in zip(before, after, strict=False))


@unhurried
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(raw <= new <= 1 for raw, new in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert [adjusted[index] for index in order] == sorted(adjusted)


def _width(interval: Interval) -> float:
    return interval.high - interval.low


def _missed(n: int, truth: float) -> tuple[float, float]:
    """The exact chance that the whole interval lies above the truth, and that it lies below."""
    intervals = [wilson(successes, n) for successes in range(n + 1)]
    chances = binom.pmf(range(n + 1), n, truth)
    above = sum(chance for each, chance in zip(intervals, chances, strict=True) if each.low > truth)
    return above, sum(chance for each, chance in zip(intervals, chances, strict=True) if each.high < truth)
