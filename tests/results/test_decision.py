"""Decisions against a baseline: hand-computed values, laws, and how often the rules are wrong when nothing changed."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from claas.results.decision import BenchmarkDecision, Decision, Outcome, PairedScores, TaskChange, decide, deltas

unhurried = settings(deadline=None, max_examples=60)
counts = st.integers(0, 400)
tables = st.tuples(counts, counts, counts, counts).filter(any)


def flips(both: int, lost: int, gained: int, neither: int) -> PairedScores:
    """Items right both times, only before, only after, and never."""
    before = [1.0] * both + [1.0] * lost + [0.0] * gained + [0.0] * neither
    return PairedScores(before, [1.0] * both + [0.0] * lost + [1.0] * gained + [0.0] * neither)


def one(pairs: PairedScores, margin: float = 0.05) -> TaskChange:
    return decide({"task": pairs}, margin).tasks["task"]


def outcomes(comparison: BenchmarkDecision) -> list[Outcome]:
    return [change.outcome for change in comparison.tasks.values()]


def test_right_or_wrong_items_are_compared_by_hand() -> None:
    """10 of 98 lost and 4 gained: (4 - 10) / 100 = -.06; sqrt((14 + 1) / 100 - .06²) = .38262; 1.95996 * .038262."""
    change = one(flips(50, 10, 4, 34), margin=0.02)
    assert change.difference == pytest.approx(-6 / 98)
    assert change.ci == (pytest.approx(-0.06 - 0.07499, abs=1e-5), pytest.approx(-0.06 + 0.07499, abs=1e-5))
    assert change.mcnemar_p == pytest.approx(2 * (1 + 14 + 91 + 364 + 1001) / 2**14)
    assert change.p_worse == pytest.approx(0.1479, abs=1e-4)  # z = (-.06 + .02) / .038262 = -1.0454
    assert (change.before, change.after, change.n) == (60 / 98, 54 / 98, 98)
    assert (change.lost, change.gained) == (10, 4)
    assert change.outcome is Outcome.UNDECIDED


def test_items_that_did_not_change_leave_an_interval_that_narrows_with_their_number() -> None:
    few, many = one(flips(50, 0, 0, 48)), one(flips(500, 0, 0, 498))
    assert few.ci == (pytest.approx(-0.0196, abs=1e-4), pytest.approx(0.0196, abs=1e-4))  # 1.96 * sqrt(.01) / 10
    assert many.ci == (pytest.approx(-0.00196, abs=1e-5), pytest.approx(0.00196, abs=1e-5))
    assert one(flips(5, 0, 0, 4)).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize(("margin", "needed"), [(0.01, 7849), (0.02, 1963), (0.05, 314), (0.10, 79)])
def test_a_tenth_of_items_that_flip_needs_the_published_number_of_items(margin: float, needed: int) -> None:
    """(1.95996 + .84162)² * q / margin² (Fleiss, Levin & Paik 2003): with few items the half ones added count for
    more, so the planned number is met from above."""
    sizes = [one(flips(4 * n, n // 2, n // 2, 5 * n), margin).needed for n in (2, 4, 6)]
    assert all(size is None or size >= needed - 2 for size in sizes)
    z = 1.959964 + 0.841621
    undecided = one(flips(9, 1, 1, 9), margin)
    assert undecided.needed == int(z * z * (3 / 22) / margin**2) + 1 - 2


def test_too_little_is_undecided_and_says_how_many_items_would_do() -> None:
    comparison = decide({"mmlu": flips(45, 5, 5, 45), "ifeval": flips(450, 3, 3, 450)}, margin=0.05)
    assert outcomes(comparison) == [Outcome.UNDECIDED, Outcome.KEPT]
    assert comparison.decision is Decision.MIXED
    assert comparison.reason == "undecided: mmlu (100 items of about 337 needed)"


def test_keep_discard_and_both_kinds_of_mixed() -> None:
    kept, worse, better = flips(480, 10, 10, 500), flips(400, 200, 10, 390), flips(400, 10, 200, 390)
    undecided = flips(5, 1, 1, 3)
    for tasks, decision, reason in (
        ({"a": kept, "b": better}, Decision.KEEP, "better: b; kept: a"),
        ({"a": kept, "b": worse, "c": undecided}, Decision.DISCARD, "worse: b"),
        ({"a": better, "b": worse}, Decision.MIXED, "worse: b; better: a"),
        ({"a": better, "b": undecided}, Decision.MIXED, None),
    ):
        comparison = decide(tasks, margin=0.05)
        assert comparison.decision is decision
        assert reason is None or comparison.reason == reason


def test_a_loss_within_the_margin_is_kept_though_it_is_no_noise() -> None:
    change = one(flips(5000, 150, 50, 4800), margin=0.02)
    assert change.mcnemar_p is not None
    assert change.mcnemar_p < 1e-6
    assert change.outcome is Outcome.KEPT


def test_scores_between_0_and_1_are_compared_as_means() -> None:
    rng = np.random.default_rng(3)
    before = rng.uniform(0.3, 0.7, size=300)
    for shift, outcome in ((-0.2, Outcome.WORSE), (0.0, Outcome.KEPT), (0.1, Outcome.BETTER)):
        change = one(PairedScores(before.tolist(), (before + shift + rng.normal(0, 0.03, size=300)).tolist()))
        assert change.outcome is outcome
        assert (change.lost, change.gained, change.mcnemar_p) == (None, None, None)
        assert change.ci is not None
        assert change.ci[0] < shift < change.ci[1]


def test_more_items_than_can_be_resampled_are_compared_all_the_same() -> None:
    change = one(PairedScores([0.25, 0.5] * 7000, [0.5, 0.25] * 7000))
    assert change.ci == (pytest.approx(-0.0041, abs=1e-4), pytest.approx(0.0041, abs=1e-4))  # 1.96 * .25 / sqrt(14000)
    assert change.outcome is Outcome.KEPT


def test_one_item_or_three_alike_decide_nothing() -> None:
    for n in (1, 3):
        change = one(PairedScores([0.5] * n, [0.5] * n))
        assert (change.ci, change.outcome, change.needed) == (None, Outcome.UNDECIDED, 6)


@pytest.mark.parametrize("pair", [([], []), ([0.5], []), ([1.5], [0.5]), ([0.5], [float("nan")])])
def test_what_is_no_pair_of_scores_is_refused(pair: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match=r"pairs need|in \[0, 1\]"):
        PairedScores(*pair)


@pytest.mark.parametrize("n", [50, 100])
@pytest.mark.parametrize("flipped", [0.02, 0.1, 0.3])
def test_the_interval_of_items_that_flip_both_ways_alike_covers_nothing_often_enough(n: int, flipped: float) -> None:
    """Exactly: the number that flip is binomial, and so is the number of those that are lost."""
    covered = 0.0
    for changed in range(int(binom.ppf(1 - 1e-6, n, flipped)) + 1):
        fewest = next(lost for lost in range(changed // 2 + 1) if covers_nothing(lost, changed - lost, n))
        between = binom.cdf(changed - fewest, changed, 0.5) - binom.cdf(fewest - 1, changed, 0.5)
        covered += float(binom.pmf(changed, n, flipped) * between)
    assert covered > 0.945


def covers_nothing(lost: int, gained: int, n: int) -> bool:
    ci = one(flips(n - lost - gained, lost, gained, 0)).ci
    return ci is not None and ci[0] <= 0 <= ci[1]


@unhurried
@given(tables)
def test_the_interval_mirrors_when_before_and_after_change_places(table: tuple[int, int, int, int]) -> None:
    both, lost, gained, neither = table
    there, back = one(flips(both, lost, gained, neither)).ci, one(flips(both, gained, lost, neither)).ci
    assert there is not None
    assert back is not None
    assert there == (pytest.approx(-back[1]), pytest.approx(-back[0]))


@unhurried
@given(tables, st.sampled_from([0.01, 0.05, 0.2]))
def test_one_outcome_follows_from_the_interval_and_an_undecided_task_needs_more_items_than_it_has(
    table: tuple[int, int, int, int], margin: float
) -> None:
    change = one(flips(*table), margin)
    assert change.ci is not None
    low, high = change.ci
    expected = Outcome.WORSE if high < -margin else Outcome.BETTER if low > 0 else None
    assert change.outcome is (expected or (Outcome.KEPT if low > -margin else Outcome.UNDECIDED))
    assert (change.outcome is not Outcome.UNDECIDED) <= (change.needed is None)
    assert change.needed is None or change.needed > change.n


@unhurried
@given(st.lists(tables, min_size=1, max_size=5), tables)
def test_a_further_task_never_makes_another_one_better_or_worse(
    before: list[tuple[int, int, int, int]], further: tuple[int, int, int, int]
) -> None:
    """More tests, stricter levels: what is concluded among many was concluded among few."""
    few = {str(place): flips(*table) for place, table in enumerate(before)}
    many = decide(few | {"further": flips(*further)}, 0.05).tasks
    for task, change in decide(few, 0.05).tasks.items():
        assert many[task].outcome in (change.outcome, Outcome.KEPT, Outcome.UNDECIDED)


@unhurried
@given(tables, st.floats(0.0, 0.3))
def test_a_drop_is_confirmed_only_where_there_is_one(table: tuple[int, int, int, int], tolerance: float) -> None:
    delta = deltas({"task": flips(*table)}, tolerance)["task"]
    assert delta.delta == pytest.approx(delta.value - delta.baseline)
    assert delta.confirmed <= delta.regressed <= (delta.delta < 0)
    assert (delta.n_needed is not None) <= (delta.regressed and not delta.confirmed)


def test_a_drop_of_just_the_tolerance_is_none() -> None:
    assert not deltas({"task": flips(55, 5, 0, 40)}, 0.05)["task"].regressed
    assert deltas({"task": flips(54, 6, 0, 40)}, 0.05)["task"].regressed


def test_a_drop_within_noise_says_how_many_items_would_settle_it() -> None:
    """(8 - 14) / 102 = -.0588; sqrt(23 / 102 - .0588²) = .4712; (1.95996 + .84162)² * (.4712 / .0588)² = 503.7."""
    within = deltas({"task": flips(46, 14, 8, 32)}, 0.05)["task"]
    assert (within.regressed, within.confirmed, within.n_needed) == (True, False, 502)
    assert within.p == pytest.approx(0.1037, abs=1e-4)  # z = -.05882 / (.47119 / sqrt(102)) = -1.2608
    beyond = deltas({"task": flips(46, 20, 2, 32)}, 0.05)["task"]
    assert (beyond.regressed, beyond.confirmed, beyond.n_needed) == (True, True, None)


def drawn(rng: np.random.Generator, items: int, tasks: int = 6, lost: Sequence[float] = ()) -> dict[str, PairedScores]:
    """Tasks a tenth of whose items flip; of the first few, these shares of what is right is lost besides."""
    right = rng.random((tasks, items)) < 0.5
    later = right ^ (rng.random((tasks, items)) < 0.1)
    for task, share in enumerate(lost):
        later[task] &= rng.random(items) > share
    return {
        str(task): PairedScores(right[task].astype(float).tolist(), later[task].astype(float).tolist())
        for task in range(tasks)
    }


def test_where_nothing_changed_the_plain_rule_fires_in_every_fifth_run_and_the_test_almost_never() -> None:
    flipped = binom.pmf(range(101), 100, 0.1)
    six_more_lost = flipped @ binom.sf([math.ceil((flips + 6) / 2) - 1 for flips in range(101)], range(101), 0.5)
    assert 1 - (1 - six_more_lost) ** 6 == pytest.approx(0.219, abs=5e-4)
    rng = np.random.default_rng(11)
    runs = [deltas(drawn(rng, items=100), tolerance=0.05) for _ in range(400)]
    assert np.mean([any(each.regressed for each in run.values()) for run in runs]) == pytest.approx(0.22, abs=0.06)
    assert np.mean([any(each.confirmed for each in run.values()) for run in runs]) <= 0.03


def test_decisions_are_wrong_as_seldom_as_they_should_be() -> None:
    rng = np.random.default_rng(12)
    few = Counter(decide(drawn(rng, items=100), margin=0.05).decision for _ in range(150))
    assert few[Decision.MIXED] >= 147  # a hundred items cannot tell, and it is said
    assert few[Decision.DISCARD] == 0
    many = Counter(decide(drawn(rng, items=1000), margin=0.05).decision for _ in range(60))
    assert many[Decision.KEEP] >= 57
    lost = Counter(decide(drawn(rng, items=1000, lost=[0.3]), margin=0.05).decision for _ in range(60))
    assert lost[Decision.DISCARD] >= 57
