"""Win rates: the numbers by hand, and the laws that they keep."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.results.judging import JudgedItem, Winner, WinRates, length_controlled, winner

MIRROR: dict[Winner, Winner] = {"a": "b", "b": "a", "tie": "tie"}
verdicts = st.sampled_from([*MIRROR, None])
judged = st.builds(
    lambda name, said, a, b: JudgedItem.of(str(name), said, a, b),
    st.integers(),
    st.lists(verdicts, max_size=2),
    st.integers(0, 500),
    st.integers(0, 500),
)


def items(*winners: Winner | None, longer_by: Sequence[int] = ()) -> list[JudgedItem]:
    """Items with these outcomes, in both orders alike."""
    more = longer_by or [0] * len(winners)
    return [
        JudgedItem.of(str(i), [said, said], 500, 500 + by)
        for i, (said, by) in enumerate(zip(winners, more, strict=True))
    ]


@pytest.mark.parametrize(
    ("said", "won", "flipped", "unreadable", "lost"),
    [
        (["b", "b"], "b", False, 0, 0),
        (["a", "a"], "a", False, 0, 0),
        (["tie", "tie"], "tie", False, 0, 0),
        (["a", "b"], "tie", True, 0, 0),
        (["b", "tie"], "tie", True, 0, 0),
        (["b", None], None, False, 1, 0),
        ([None, None], None, False, 2, 0),
        (["b"], None, False, 0, 1),
        ([None], None, False, 1, 1),
        ([], None, False, 0, 2),
    ],
)
def test_a_win_counts_only_if_both_orders_agree_and_what_is_missing_is_no_tie(
    said: list[Winner | None], won: Winner | None, flipped: bool, unreadable: int, lost: int
) -> None:
    item = JudgedItem.of("q", said, 1, 2)
    assert (item.winner, item.flipped, item.unreadable, item.lost) == (won, flipped, unreadable, lost)


def test_the_place_that_was_named_is_a_side_by_the_order() -> None:
    assert [winner(place, order) for place in ("A", "B", "tie", None) for order in ("ab", "ba")] == [
        *("a", "b", "b", "a", "tie", "tie", None, None)
    ]


def test_a_tie_counts_half_and_the_interval_is_wilsons_over_items() -> None:
    rates = WinRates.over([*items("b", "b", "tie", "a", "b", "b", "tie", "a"), *items(None)])
    assert (rates.win_rate, rates.n, rates.wins, rates.losses, rates.ties, rates.unreadable) == (0.625, 8, 4, 2, 2, 1)
    # (5/8 + z²/16 ± z sqrt((5/8)(3/8)/8 + z²/256)) / (1 + z²/8)
    z = 1.959964
    middle, half = 0.625 + z**2 / 16, z * math.sqrt(0.625 * 0.375 / 8 + z**2 / 256)
    assert rates.ci == pytest.approx(((middle - half) / (1 + z**2 / 8), (middle + half) / (1 + z**2 / 8)))


def test_where_all_items_were_won_the_interval_is_no_point_and_length_says_nothing() -> None:
    rates = WinRates.over(items(*["b"] * 10))
    assert (rates.win_rate, rates.length_controlled) == (1.0, None)
    assert rates.ci == pytest.approx((10 / (10 + 1.959964**2), 1.0))


def test_of_nothing_there_is_no_win_rate() -> None:
    rates = WinRates.over(items(None, None))
    assert (rates.win_rate, rates.ci, rates.length_controlled, rates.n) == (None, None, None, 0)


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_the_length_controlled_rate_is_the_middle_of_two_groups_by_hand() -> None:
    # Of the answers that are longer 15 of 20 win, of those that are shorter 5 of 20 do: at equal length, half.
    scores, longer_by = [1.0] * 15 + [0.0] * 5 + [1.0] * 5 + [0.0] * 15, [80] * 20 + [-80] * 20
    assert length_controlled(scores, longer_by) == pytest.approx(0.5)
    # Two groups and two coefficients: logit .9 = t + f x, logit .5 = t - f x, so t is the mean of both.
    scores = [1.0] * 18 + [0.0] * 2 + [1.0] * 10 + [0.0] * 10
    expected = 1 / (1 + math.exp(-(logit(0.9) + logit(0.5)) / 2))
    assert length_controlled(scores, longer_by) == pytest.approx(
        expected, abs=2e-3
    )  # 0.75; the ridge moves it a little


def test_the_length_controlled_rate_is_that_of_scikit_learn() -> None:
    linear, numpy = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("numpy")
    scores = [1.0, 1.0, 0.5, 0.0, 1.0, 0.5, 0.0, 0.0, 1.0, 1.0, 0.5]
    longer_by = [120, 40, -10, -80, 300, 20, 60, -200, -30, 90, 0]
    feature = numpy.tanh(numpy.array(longer_by) / numpy.std(longer_by, ddof=1))
    doubled, labels = numpy.concatenate([feature, feature])[:, None], [1] * 11 + [0] * 11
    weights = [*scores, *(1 - score for score in scores)]  # a tie is half a win and half a loss
    model = linear.LogisticRegression(C=100, tol=1e-10).fit(doubled, labels, sample_weight=weights)
    expected = model.predict_proba([[0.0]])[0, 1]
    assert length_controlled(scores, longer_by) == pytest.approx(expected, abs=1e-6)
    assert expected < sum(scores) / 11  # the longer answers won more often


def test_answers_of_equal_length_need_no_control() -> None:
    assert length_controlled([1.0, 1.0, 0.0, 0.5], [7, 7, 7, 7]) == 0.625


def test_a_judge_that_only_likes_length_says_nothing_at_equal_length() -> None:
    scores, longer_by = [1.0] * 10 + [0.0] * 10, [50 + i for i in range(10)] + [-50 - i for i in range(10)]
    assert length_controlled(scores, longer_by) == pytest.approx(0.5, abs=0.01)
    shifted = [1.0] * 15 + [0.0] * 5, [50 + i for i in range(15)] + [-50 - i for i in range(5)]
    found = length_controlled(*shifted)
    assert found is not None
    assert found < 0.75


def mirrored(item: JudgedItem) -> JudgedItem:
    won = None if item.winner is None else MIRROR[item.winner]
    return item.model_copy(update={"winner": won, "length_a": item.length_b, "length_b": item.length_a})


@given(st.lists(judged, max_size=30))
def test_swapping_the_sides_mirrors_everything(found: list[JudgedItem]) -> None:
    rates, other = WinRates.over(found), WinRates.over(map(mirrored, found))
    assert (rates.n, rates.wins, rates.ties, rates.flipped) == (other.n, other.losses, other.ties, other.flipped)
    assert rates.n + rates.unreadable + rates.lost == len(found)
    if rates.win_rate is not None and other.win_rate is not None and rates.ci is not None and other.ci is not None:
        assert rates.win_rate == pytest.approx(1 - other.win_rate)
        assert rates.ci[0] <= rates.win_rate <= rates.ci[1]
        assert rates.ci == pytest.approx((1 - other.ci[1], 1 - other.ci[0]), abs=1e-9)
    if rates.length_controlled is not None and other.length_controlled is not None:
        assert rates.length_controlled == pytest.approx(1 - other.length_controlled, abs=1e-6)
