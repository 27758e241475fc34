from dataclasses import replace
from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.eval.metrics.drift import Drift
from claas.eval.records import Counts
from tests.eval.metrics.subjects import PREFERENCE, measure, measured_again, subject
from tests.fakes.stack import FakeStack

ANSWERS = {"Why does it rain?": "it rains", "Why does it snow?": "snow"}
BASE = {"it rains": (-1.0, -2.0, -0.5), "snow": (-1.5, -0.5)}


def base(**changed: object) -> FakeStack:
    return replace(FakeStack(answers=ANSWERS, scores=BASE), **changed)


def test_at_baseline_the_answers_are_written_scored_and_frozen() -> None:
    stack = base()
    found = measure(Drift(), subject(stack))
    assert found.values == {"drift": {"kl_k1": 0.0, "kl_k3": 0.0}}
    assert found.counts == {"drift": Counts(planned=2, scored=2, errored=0)}
    assert [rollout.item for rollout in found.rollouts] == ["sample/0", "base/0", "sample/1", "base/1"]
    assert found.rollouts[1].logprobs == [-1.0, -2.0, -0.5]
    assert {asked.temperature for asked in stack.asked if asked.kind == "answer"} == {1.0}


def test_values_are_the_hand_computed_ones() -> None:
    after = FakeStack(scores={"it rains": (-1.5, -1.0, -0.5), "snow": (-2.5, -0.5)})
    found = measured_again(Drift(), base(), after)
    ratios = [-0.5, 1.0, 0.0, -1.0, 0.0]
    assert found.values["drift"] == {
        "kl_k1": pytest.approx(-sum(ratios) / 5),
        "kl_k3": pytest.approx(sum(exp(r) - 1 - r for r in ratios) / 5),
    }
    assert {asked.kind for asked in after.asked} == {"score"}


@settings(deadline=None)
@given(st.floats(-5, 5))
def test_a_shift_of_every_token_is_k1_and_k3_is_never_negative(shift: float) -> None:
    values = measured_again(Drift(), base(), base(shift=shift)).values["drift"]
    assert isinstance(values, dict)
    assert values["kl_k1"] == pytest.approx(-shift)
    assert values["kl_k3"] == pytest.approx(exp(shift) - 1 - shift, abs=1e-9)
    assert values["kl_k3"] is not None
    assert values["kl_k3"] >= 0


def test_the_end_that_a_cut_off_answer_never_wrote_is_not_read() -> None:
    before = base(cut_off={"Why does it snow?"})
    after = FakeStack(scores=BASE | {"snow": (-1.5, -9.0)})
    found = measured_again(Drift(), before, after)
    assert found.values["drift"] == {"kl_k1": pytest.approx(0.0), "kl_k3": pytest.approx(0.0)}
    assert found.counts["drift"] == Counts(planned=2, scored=2, errored=0, truncated=1)


def test_another_number_of_tokens_is_an_error() -> None:
    found = measured_again(Drift(), base(), FakeStack(scores=BASE | {"snow": (-1.0,)}))
    assert found.counts["drift"] == Counts(planned=2, scored=1, errored=1)
    assert [rollout.error for rollout in found.rollouts] == [None, "1 tokens, but 2 at baseline"]


def test_lost_answers_are_counted_and_never_averaged() -> None:
    before = measure(Drift(), subject(base(lost={"Why does it snow?"})))
    assert before.counts["drift"] == Counts(planned=2, scored=1, errored=1)
    unscored = measure(Drift(), subject(base(lost={"snow"})))
    assert unscored.counts["drift"] == Counts(planned=2, scored=1, errored=1)
    later = measured_again(Drift(), base(lost={"Why does it snow?"}), base(lost={"it rains"}))
    assert later.counts["drift"] == Counts(planned=1, scored=0, errored=1)
    assert later.values["drift"] == {"kl_k1": None, "kl_k3": None}


def test_no_more_than_so_many_prompts_are_used() -> None:
    many = replace(PREFERENCE, probe_prompts=tuple(f"Why {i}?" for i in range(30)))
    assert measure(Drift(max_prompts=5), subject(FakeStack(say=lambda *_: "so"), many)).counts["drift"].planned == 5
