"""What the verdict says of runs that go well, collapse, learn nothing, lose answers, or are too small to tell."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from claas.core.errors import InvalidInput
from claas.results.records import History, StepRecord, Transcript
from claas.results.verdict import Judgement, Verdict, combine, judge
from tests.results.synthetic_runs import Collapsing, Unchanged, World, make_history

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


class Small(World):
    """Every answer is right, but there are few of them."""

    heldouts, items, pairs = 3, 6, 4


def verdicts(judgement: Judgement) -> dict[str, Verdict]:
    return {name: ruling.verdict for name, ruling in judgement.criteria.items()}


def at_last_step(history: History, change: Callable[[Transcript], Transcript]) -> History:
    *earlier, last = history.steps
    changed = last.model_copy(update={"rollouts": [change(rollout) for rollout in last.rollouts]})
    return replace(history, steps=(*earlier, changed))


def lost(rollout: Transcript) -> Transcript:
    gone = {"response": None, "verdict": None, "logprobs": None, "mean_entropy": None, "error": "timeout"}
    return rollout.model_copy(update=gone)


def test_a_run_that_goes_well_passes_every_criterion() -> None:
    judgement = judge(make_history(), {})
    assert set(verdicts(judgement).values()) == {PASS}
    assert judgement.verdict is PASS
    assert judgement.not_measured == []
    assert judgement.criteria["heldout_compliance"].n == 64
    assert judgement.criteria["margin_gain"].value == pytest.approx(22, abs=1)


def test_a_collapse_fails_although_the_preference_is_learned() -> None:
    judgement = judge(make_history(Collapsing()), {})
    found = verdicts(judgement)
    assert [name for name, verdict in found.items() if verdict is PASS] == ["heldout_compliance", "margin_gain"]
    assert [name for name, verdict in found.items() if verdict is FAIL] == [
        "capability_retention", "entropy_ratio", "self_rouge_l", "mean_logprob_drift"
    ]  # fmt: skip
    assert judgement.verdict is FAIL
    assert "entropy_ratio" in judgement.reason


def test_too_few_items_are_inconclusive_and_say_how_many_would_do() -> None:
    judgement = judge(make_history(Small()), {})
    heldout, capability = judgement.criteria["heldout_compliance"], judgement.criteria["capability_retention"]
    assert judgement.verdict is INCONCLUSIVE
    assert (heldout.value, heldout.verdict) == (1.0, INCONCLUSIVE)
    assert heldout.ci == (pytest.approx(0.4385, abs=1e-4), 1.0)
    assert heldout.note is not None
    assert "needs n ≥ 16" in heldout.note
    assert (capability.value, capability.verdict) == (1.0, INCONCLUSIVE)
    assert "needs n ≥ " in (capability.note or "")


def test_a_run_that_changes_nothing_is_never_said_to_have_learned_or_harmed() -> None:
    """Thirty A/A runs. At 95 % an interval may miss one in twenty, but here the truth is far from every threshold."""
    for seed in range(30):
        found = verdicts(judge(make_history(Unchanged(seed), steps=2), {}))
        assert found.pop("heldout_compliance") is FAIL
        assert found.pop("margin_gain") is FAIL
        assert set(found.values()) == {PASS}


def test_with_one_pair_there_is_no_interval_and_so_no_verdict() -> None:
    class OnePair(World):
        pairs = 1

    ruling = judge(make_history(OnePair()), {}).criteria["margin_gain"]
    assert ruling.verdict is INCONCLUSIVE
    assert ruling.ci is None
    assert ruling.value is not None
    assert ruling.note == "a single measurement has no spread, needs n ≥ 2"


def test_equal_changes_in_a_few_pairs_are_not_taken_for_certainty() -> None:
    def same(rollout: Transcript) -> Transcript:
        if rollout.metric != "logprob_margin":
            return rollout
        return rollout.model_copy(update={"logprobs": [-1.0 if rollout.item.endswith("positive") else -9.0]})

    history = at_last_step(make_history(Small()), same)
    assert history.baseline is not None
    start = [same(rollout).model_copy(update={"logprobs": [0.0]}) for rollout in history.baseline.rollouts]
    history = replace(history, baseline=history.baseline.model_copy(update={"rollouts": start}))
    ruling = judge(history, {}).criteria["margin_gain"]
    assert (ruling.value, ruling.ci, ruling.verdict) == (8.0, None, INCONCLUSIVE)
    assert ruling.note == "all 4 are equal, needs n ≥ 6"


def test_lost_answers_can_turn_a_pass_into_inconclusive_but_never_help() -> None:
    def lose_some(rollout: Transcript) -> Transcript:
        gone = rollout.item.startswith("heldout/") and int(rollout.item.partition("/")[2]) < 20
        return lost(rollout) if gone else rollout

    ruling = judge(at_last_step(make_history(), lose_some), {}).criteria["heldout_compliance"]
    assert (ruling.value, ruling.n, ruling.verdict) == (1.0, 44, INCONCLUSIVE)
    assert "20 of 64 lost" in (ruling.note or "")
    assert ruling.ci is not None
    assert ruling.ci[0] < 44 / 64


def test_a_criterion_whose_answers_are_all_lost_is_inconclusive_not_absent() -> None:
    history = at_last_step(make_history(), lambda rollout: lost(rollout) if rollout.metric == "collapse" else rollout)
    found = judge(history, {}).criteria
    for name in ("entropy_ratio", "self_rouge_l", "mean_logprob_drift"):
        assert (found[name].value, found[name].verdict, found[name].n) == (None, INCONCLUSIVE, 0)
        assert "due, and not measured" in (found[name].note or "")


def test_what_was_not_part_of_the_run_is_named_and_left_out() -> None:
    def without(step: StepRecord) -> StepRecord:
        return step.model_copy(update={"eval": {"heldout_compliance": 1.0}})

    history = make_history()
    assert history.baseline is not None
    baseline = history.baseline.model_copy(update={"eval": {"heldout_compliance": 0.0}})
    history = replace(history, baseline=baseline, steps=tuple(without(step) for step in history.steps))
    judgement = judge(history, {})
    assert list(judgement.criteria) == ["heldout_compliance"]
    assert "margin_gain" in judgement.not_measured
    assert judgement.verdict is PASS
    assert list(judgement.changed_items) == ["heldout"]


def test_collapse_is_judged_at_its_last_checkpoint() -> None:
    history = make_history()
    last = history.steps[-1]
    values = {key: value for key, value in last.eval.items() if key != "collapse"}
    rollouts = [rollout for rollout in last.rollouts if rollout.metric != "collapse"]
    shorter = last.model_copy(update={"eval": values, "rollouts": rollouts})
    ruling = judge(replace(history, steps=(*history.steps[:-1], shorter)), {}).criteria["entropy_ratio"]
    assert ruling.verdict is PASS, "the checkpoints declared end before the last step"


@pytest.mark.parametrize(("failure", "reason"), [("the server died", "ended after 3 of 6"), (None, "running: 3 of 6")])
def test_an_unfinished_preference_has_numbers_but_no_verdict(failure: str | None, reason: str) -> None:
    judgement = judge(make_history(Collapsing(), done=3, failure=failure), {})
    assert judgement.verdict is INCONCLUSIVE
    assert reason in judgement.reason
    assert set(verdicts(judgement).values()) == {INCONCLUSIVE}
    assert judgement.criteria["margin_gain"].ci is not None


def test_a_preference_that_failed_before_anything_was_measured_invents_nothing() -> None:
    judgement = judge(History("concise", 6, failure="no server"), {})
    assert judgement.criteria == {}
    assert len(judgement.not_measured) == 6
    assert judgement.verdict is INCONCLUSIVE
    only_baseline = judge(make_history(done=0, failure="no server"), {})
    assert only_baseline.criteria["margin_gain"].value is None


def test_a_threshold_decides_from_the_interval_and_not_from_the_point() -> None:
    history = make_history()
    ruling = judge(history, {}).criteria["margin_gain"]
    assert ruling.ci is not None
    assert ruling.value is not None
    thresholds = {ruling.ci[0] - 0.1: PASS, ruling.value - 0.1: INCONCLUSIVE, 2 * ruling.ci[1]: FAIL}
    for threshold, verdict in thresholds.items():
        assert judge(history, {"margin_gain": threshold}).criteria["margin_gain"].verdict is verdict


def test_drift_down_counts_as_drift_up_does() -> None:
    class Up(World):
        shift = staticmethod(lambda t: 4.0 * t)

    class Down(World):
        shift = staticmethod(lambda t: -4.0 * t)

    for world in (Up(), Down()):
        ruling = judge(make_history(world), {}).criteria["mean_logprob_drift"]
        assert ruling.value == pytest.approx(4.0, abs=0.1)
        assert ruling.verdict is FAIL


def test_a_score_that_no_verifier_can_have_given_is_refused_by_name() -> None:
    def beyond(rollout: Transcript) -> Transcript:
        changed = {"verdict": {"score": 1.5, "passed": True}}
        return rollout.model_copy(update=changed) if rollout.item == "capability/3" else rollout

    with pytest.raises(InvalidInput, match=r"capability/3: a score is from 0 to 1, got 1\.5; restore"):
        judge(at_last_step(make_history(), beyond), {})


def test_combine() -> None:
    assert combine([]) is INCONCLUSIVE
    assert combine([PASS, PASS]) is PASS
    assert combine([PASS, INCONCLUSIVE]) is INCONCLUSIVE
    assert combine([PASS, INCONCLUSIVE, FAIL]) is FAIL
