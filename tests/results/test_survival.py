"""How long something takes over seeds, some of which never see it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.results.efficiency import Reached
from claas.results.survival import Survival, survival_of


def reached(*interactions: float | None, made: int = 20) -> dict[str, Reached]:
    return {
        str(seed): Reached(interactions=value, updates=value, censored=value is None, made=made)
        for seed, value in enumerate(interactions)
    }


def survival(by_seed: dict[str, Reached], complete: list[str] | None = None) -> Survival:
    found = survival_of(by_seed, list(by_seed) if complete is None else complete, 0.95)
    assert found is not None
    return found


def test_by_hand() -> None:
    """Six seeds, one of which is still waiting at the end: 17, 19, 12, 16, 16, more than 20."""
    found = survival(reached(17, 19, 12, 16, 16, None))
    assert found.waiting == [
        (0.0, 1.0),
        (12.0, pytest.approx(5 / 6)),
        (16.0, pytest.approx(3 / 6)),
        (17.0, pytest.approx(2 / 6)),
        (19.0, pytest.approx(1 / 6)),
        (20.0, pytest.approx(1 / 6)),
    ]
    assert (found.median, found.median_ci, found.censored) == (16.0, (12.0, None), 1)
    assert found.restricted_mean == pytest.approx((17 + 19 + 12 + 16 + 16 + 20) / 6)
    assert found.restricted_to == 20
    assert found.note is None


def test_five_seeds_have_no_interval_of_a_median_and_say_so() -> None:
    found = survival(reached(4, 8, 8, 12, 16))
    assert (found.median, found.median_ci) == (8.0, None)
    assert found.note == "an interval of a median needs 6 seeds at 95 %, there are 5"


def test_where_none_came_to_it_everything_is_beyond_the_end() -> None:
    found = survival(reached(*[None] * 6))
    assert (found.median, found.median_ci, found.restricted_mean, found.censored) == (None, (20.0, None), 20.0, 6)


def test_a_seed_that_ended_early_counts_only_as_long_as_it_was_there() -> None:
    by_seed = reached(10, 14) | {"early": Reached(interactions=None, updates=None, censored=True, made=12)}
    found = survival(by_seed, ["0", "1"])
    assert found.waiting[1:] == [(10.0, pytest.approx(2 / 3)), (12.0, pytest.approx(2 / 3)), (14.0, 0.0)]
    assert found.restricted_mean == pytest.approx(10 + 4 * 2 / 3)
    assert found.restricted_mean_ci is None


def test_of_nothing_there_is_nothing() -> None:
    assert survival_of({}, [], 0.95) is None
    assert survival_of(reached(None, made=0), ["0"], 0.95) is None


@given(st.lists(st.one_of(st.none(), st.integers(0, 20)), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_the_restricted_mean_is_that_of_all_seeds_in_any_order(values: list[int | None], order) -> None:
    found = survival(reached(*values))
    assert found.restricted_mean == pytest.approx(sum(20 if each is None else each for each in values) / len(values))
    again = survival(reached(*order.sample(values, len(values))))
    assert (again.median, again.median_ci, again.waiting) == (found.median, found.median_ci, found.waiting)
