"""The two-way variance of a mean over seeds and items: by hand, by law, and how often its interval covers."""

import math
import random
from statistics import fmean, variance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.results.crossed import CHANGES, LEVELS, Crossed

CELLS = [[1.0, 2.0, 6.0], [3.0, 4.0, 2.0]]


def test_by_hand() -> None:
    table = Crossed.of(CELLS)
    assert table.mean == table.centre == 3.0
    assert (table.seeds, table.items) == (2, 3)
    # rows are off by 0 and 0 in sum, columns by -2, 0 and 2, cells by -2 -1 3 0 1 -1
    assert table.v_seeds == pytest.approx(2 / 1 * (0 + 0) / 36)
    assert table.v_items == pytest.approx(3 / 2 * (4 + 0 + 4) / 36)
    assert table.v_residual == pytest.approx(6 / 5 * (4 + 1 + 9 + 0 + 1 + 1) / 36)
    assert table.variance == pytest.approx(table.v_items)  # the sum less the residual is less
    interval = table.interval(0.95)
    assert interval is not None
    half = 12.706204736 * math.sqrt(1 / 3)  # Student's t with one degree of freedom
    assert (interval.low, interval.high) == pytest.approx((3 - half, 3 + half))
    assert table.p_at_least(3.0) == pytest.approx(0.5)
    # with one degree of freedom Student's t is Cauchy's distribution
    assert table.p_at_most(2.0) == pytest.approx(0.5 - math.atan(math.sqrt(3)) / math.pi)


def test_complete_tables_have_the_variances_of_their_margins() -> None:
    noise = random.Random(1)
    cells = [[noise.gauss(0, 1) for _ in range(7)] for _ in range(4)]
    table = Crossed.of(cells)
    assert table.v_seeds == pytest.approx(variance(map(fmean, cells)) / 4)
    assert table.v_items == pytest.approx(variance(map(fmean, zip(*cells, strict=True))) / 7)
    assert table.variance == pytest.approx(
        max(table.v_seeds + table.v_items - table.v_residual, table.v_seeds, table.v_items)
    )


scores = st.floats(-10, 10, allow_subnormal=False)
tables = st.integers(2, 4).flatmap(lambda items: st.lists(st.lists(scores, min_size=items, max_size=items), min_size=2))


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_seeds_and_items_changes_nothing(cells: list[list[float]], order: random.Random) -> None:
    table = Crossed.of(cells)
    shuffled = list(map(list, zip(*order.sample([*zip(*cells, strict=True)], len(cells[0])), strict=True)))
    other = Crossed.of(order.sample(shuffled, len(shuffled)))
    close = {"rel": 1e-6, "abs": 1e-9}
    assert other.mean == pytest.approx(table.mean, **close)
    assert other.variance == pytest.approx(table.variance, **close)


@given(st.lists(scores, min_size=2), st.integers(2, 5))
@settings(max_examples=50)
def test_one_seed_again_and_again_has_no_variance_of_seeds(row: list[float], times: int) -> None:
    assert Crossed.of([row] * times).v_seeds == pytest.approx(0, abs=1e-18)


def test_one_seed_has_no_interval_and_equal_cells_have_none() -> None:
    assert Crossed.of([[0.0, 1.0]]).interval(0.95) is None
    assert Crossed.of([[0.5, 0.5], [0.5, 0.5]]).interval(0.95) is None


def test_items_that_all_pass_have_a_width_that_shrinks_with_items() -> None:
    few, many = (Crossed.of([[1.0] * items] * 5, LEVELS).interval(0.95) for items in (16, 64))
    assert few is not None
    assert many is not None
    assert few.low < many.low < 0.95
    assert many.low > 0.93  # Wilson's interval of 64 of 64 begins at .943
    assert few.high >= 1.0
    assert many.high >= 1.0


def test_items_put_in_do_not_move_the_mean() -> None:
    cells = [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    assert Crossed.of(cells, LEVELS).mean == Crossed.of(cells, CHANGES).mean == pytest.approx(5 / 6)


def test_what_was_not_measured_is_left_out() -> None:
    table = Crossed.of([[1.0, None, 3.0], [2.0, None, 4.0], [None, None, None]])
    assert (table.mean, table.seeds, table.items) == (2.5, 2, 2)
    with pytest.raises(ValueError, match="nothing was measured"):
        Crossed.of([[None]])


def test_seeds_needed_is_the_fewest_that_conclude() -> None:
    table = Crossed.of([[0.5, 0.7], [0.9, 1.1], [0.6, 0.8]])
    assert table.seeds_needed(0.76, 0.95) is None  # the items alone are too far apart
    noisy = Crossed.of([[value] for value in (0.2, 1.0, 0.5, 0.9)])
    needed = noisy.seeds_needed(0.0, 0.95)
    spread = math.sqrt(4 * noisy.variance)
    quantiles = {4: 3.182446 + 0.978472, 5: 2.776445 + 0.940965, 3: 4.302653 + 1.060660}
    fewest = min(n for n, quantile in quantiles.items() if quantile * spread / math.sqrt(n) < noisy.mean)
    assert needed == fewest


def test_few_items_are_few_whatever_the_seeds() -> None:
    """With many seeds on two items it is the items that are the sample: one degree of freedom."""
    table = Crossed.of([[0.0, 2.0]] * 50)
    interval = table.interval(0.95)
    assert interval is not None
    assert interval.high - 1.0 == pytest.approx(12.706204736 * 1.0)
    assert table.v_items == pytest.approx(1.0)


def test_intervals_cover_the_truth_where_those_over_seeds_alone_do_not() -> None:
    """The same 32 items serve every seed; they differ much and seeds little."""
    noise = random.Random(3)
    crossed = alone = 0
    for _ in range(200):
        items = [noise.gauss(0, 0.35) for _ in range(32)]
        cells = [
            [item + seed + noise.gauss(0, 0.2) for item in items] for seed in (noise.gauss(0, 0.05) for _ in "12345")
        ]
        both, seeds = Crossed.of(cells).interval(0.95), Crossed.of([[fmean(row)] for row in cells]).interval(0.95)
        assert both is not None
        assert seeds is not None
        crossed += both.low <= 0 <= both.high
        alone += seeds.low <= 0 <= seeds.high
    assert crossed / 200 >= 0.93
    assert alone / 200 <= 0.88
