"""The best of many: which it is, what is as good, and what its score is worth once luck is taken out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.results.selection import interval_of, select
from claas.results.statistics import wilson


def test_the_earliest_of_equal_ones_is_the_best() -> None:
    found = select("r", {"one": [0, 1], "two": [1, 0], "three": [0, 0]})
    assert (found.best, found.score, found.earliest, found.candidates, found.items) == ("one", 0.5, "one", 3, 2)
    assert found.within_noise == ["two", "three"]


def test_by_half_of_the_items_and_scored_on_the_other_half_by_hand() -> None:
    # Of two items there are two halves. By the first "one" is the best, which has 0 on the second, and the other way
    # round: what looks like .5 is luck.
    assert select("r", {"one": [1, 0], "two": [0, 1]}).split_half == 0.0
    # Of three, one is chosen by {0}: a, 1/2 on the rest; {1}: b, 0; {2}: a, 1/2; {1, 2}: a (equal, earlier), 1 on 0;
    # {0, 2}: a, 0 on 1; {0, 1}: a (equal, earlier), 1 on 2. Together 3 of 6.
    assert select("r", {"a": [1, 0, 1], "b": [0, 1, 0]}).split_half == pytest.approx(0.5)
    assert select("r", {"a": [1], "b": [0]}).split_half is None


def test_where_one_is_better_on_every_item_nothing_is_luck() -> None:
    found = select("r", {"worse": [0.2] * 30, "better": [0.7] * 30})
    assert (found.best, found.within_noise, found.earliest) == ("better", [], "better")
    assert found.split_half == pytest.approx(0.7)


def test_less_is_better_of_a_loss_which_has_no_greatest_value() -> None:
    found = select(
        "eval_loss", {"early": [3.0, 4.5, 2.9, 3.3] * 4, "late": [2.9, 4.4, 2.8, 3.2] * 4}, less_is_better=True
    )
    assert (found.best, found.within_noise) == ("late", [])
    assert found.score == pytest.approx(3.325)
    assert found.split_half == pytest.approx(3.325)
    assert found.ci is not None
    assert found.ci[0] < 3.325 < found.ci[1]


def test_the_interval_holds_for_whichever_is_chosen() -> None:
    right = [1.0] * 40 + [0.0] * 60
    found = select("r", {str(number): right for number in range(10)})
    expected = wilson(40, 100, 0.995)  # each of ten at a tenth of 5 %
    assert found.ci == (expected.low, expected.high)
    assert found.within_noise == [str(number) for number in range(1, 10)]


def test_an_interval_stays_where_a_score_can_be() -> None:
    few = [0.0] * 11 + [1.9]  # weighed: two tasks with unequal numbers of items
    interval = interval_of(few)
    assert interval is not None
    assert 0 <= interval.low <= interval.high <= 1


def test_what_is_as_good_is_found_by_pairs_of_items_and_not_by_intervals_that_overlap() -> None:
    hard = [0.0, 1.0] * 100
    better = [1.0 if place % 20 == 0 else score for place, score in enumerate(hard)]  # ten more, and none fewer
    found = select("r", {"base": hard, "tuned": better})
    assert (found.best, found.within_noise) == ("tuned", [])
    apart = [interval_of(scores) for scores in (hard, better)]
    assert apart[0] is not None
    assert apart[1] is not None
    assert apart[0].high > apart[1].low


def test_of_twenty_equal_checkpoints_the_best_is_lucky_and_the_correction_says_so() -> None:
    chance, found = np.random.default_rng(3), []
    for _ in range(30):
        right = chance.random((20, 100)) < 0.5
        found.append(select("r", {str(place): row.astype(float).tolist() for place, row in enumerate(right)}))
    assert np.mean([each.score for each in found]) > 0.57
    assert np.mean([each.split_half for each in found]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([len(each.within_noise) for each in found]) > 18


SCORES = st.integers(1, 12).flatmap(
    lambda items: st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=items, max_size=items), min_size=1, max_size=5
    )
)


@given(SCORES)
def test_whatever_the_scores_the_choice_is_one_of_the_best(scores: list[list[float]]) -> None:
    found = select("r", {str(place): row for place, row in enumerate(scores)})
    means = [sum(row) / len(row) for row in scores]
    assert found.score == pytest.approx(max(means))
    assert means[int(found.best)] == pytest.approx(max(means))
    assert int(found.earliest) <= int(found.best)
    assert found.best not in found.within_noise
    assert found.split_half is None or min(map(min, scores)) <= found.split_half <= max(map(max, scores))


def test_nothing_is_chosen_of_nothing() -> None:
    for scores in ({}, {"one": []}):
        with pytest.raises(ValueError, match="a choice needs checkpoints"):
            select("r", scores)
