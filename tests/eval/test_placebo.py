"""Verdicts on runs in which chance alone decides: false passes and false fails come no more often than they may."""

from collections.abc import Callable, Mapping, Sequence

import pytest
from scipy.stats import binom

from claas.results.keys import judged as judged_keys
from claas.results.keys import keys_of_schema_1
from claas.results.verdict import Judgement, Verdict, combine, judge_run
from tests.results.chance_runs import AT_EVERY_THRESHOLD, Effect, chance_history

PREFERENCES = ("a", "b", "c")
LEVEL = 0.025
"""One side of a 95 % interval."""

Runs = Sequence[Sequence[Judgement]]


def judged(effect: Effect, criteria: Mapping[str, float], seeds: int) -> Runs:
    """One run of three preferences per seed."""
    return [
        judge_run([chance_history(effect, seed, name) for name in PREFERENCES], criteria, len(PREFERENCES))
        for seed in range(seeds)
    ]


@pytest.fixture(scope="module")
def placebo() -> Runs:
    """Nothing is trained, compliance was 0.8 all along, and a gain of more than nothing is asked for: compliance is
    just enough, the gain is not, and nothing is forgotten or collapses."""
    return judged(Effect(compliance=0.8, gain=0.0), {"margin_gain": 0.0}, seeds=80)


@pytest.fixture(scope="module")
def at_every_threshold() -> Runs:
    """All six criteria of every preference are exactly at the threshold, where each is wrong most often."""
    return judged(AT_EVERY_THRESHOLD, {}, seeds=200)


def at_most(trials: int, rate: float = LEVEL) -> int:
    """The most successes that this rate gives, but for one time in a thousand."""
    return int(binom.ppf(0.999, trials, rate))


def rulings(runs: Runs, name: str, of: Callable[[Judgement, str], bool]) -> int:
    return sum(of(judgement, name) for run in runs for judgement in run)


def passes(judgement: Judgement, name: str) -> bool:
    return judgement.criteria[name].verdict is Verdict.PASS


def fails_alone(judgement: Judgement, name: str) -> bool:
    p = judgement.criteria[name].p
    return p is not None and p <= LEVEL


def any_fails_alone(run: Sequence[Judgement]) -> bool:
    return any(fails_alone(judgement, name) for judgement in run for name in judgement.criteria)


def fails(run: Sequence[Judgement]) -> bool:
    return combine([judgement.verdict for judgement in run]) is Verdict.FAIL


def test_a_placebo_is_said_to_fail_no_more_often_than_the_level(placebo: Runs) -> None:
    assert sum(map(fails, placebo)) <= at_most(len(placebo))


@pytest.mark.parametrize("name", ["heldout_compliance", "margin_gain"])
def test_a_placebo_is_said_to_be_learned_no_more_often_than_the_level(placebo: Runs, name: str) -> None:
    assert rulings(placebo, name, passes) <= at_most(len(placebo) * len(PREFERENCES))


def test_a_placebo_passes_as_a_whole_far_more_rarely_than_one_criterion(placebo: Runs) -> None:
    assert sum(judgement.verdict is Verdict.PASS for run in placebo for judgement in run) <= 1


def test_a_placebo_harms_nothing(placebo: Runs) -> None:
    for name in ("entropy_ratio", "self_rouge_l", "mean_logprob_drift"):
        assert rulings(placebo, name, passes) >= 0.99 * len(placebo) * len(PREFERENCES)
    for name in ("capability_retention", "entropy_ratio", "self_rouge_l", "mean_logprob_drift"):
        assert rulings(placebo, name, fails_alone) == 0


@pytest.mark.faults
@pytest.mark.parametrize("name", [criterion.name for _, criterion in judged_keys(keys_of_schema_1())])
def test_at_its_threshold_a_criterion_errs_to_neither_side_more_often_than_the_level(
    at_every_threshold: Runs, name: str
) -> None:
    most = at_most(len(at_every_threshold) * len(PREFERENCES))
    assert rulings(at_every_threshold, name, passes) <= most
    assert rulings(at_every_threshold, name, fails_alone) <= most


@pytest.mark.faults
def test_eighteen_criteria_at_their_thresholds_fail_together_no_more_often_than_one(at_every_threshold: Runs) -> None:
    """Without Holm's correction it would be one run in four."""
    assert sum(map(any_fails_alone, at_every_threshold)) >= 0.15 * len(at_every_threshold)
    assert sum(map(fails, at_every_threshold)) <= at_most(len(at_every_threshold))


@pytest.mark.faults
def test_a_run_at_every_threshold_never_passes(at_every_threshold: Runs) -> None:
    assert not any(judgement.verdict is Verdict.PASS for run in at_every_threshold for judgement in run)


def test_a_real_failure_is_still_found_among_eighteen_criteria() -> None:
    """Half of the abilities are gone, in one preference of three."""
    found = 0
    for seed in range(10):
        well = [chance_history(Effect(compliance=0.97, gain=9.0), seed, name) for name in PREFERENCES[1:]]
        harmed = chance_history(Effect(compliance=0.97, gain=9.0, kept=0.5), seed, PREFERENCES[0])
        found += fails(judge_run([harmed, *well], {}, len(PREFERENCES)))
    assert found >= 8
