from dataclasses import dataclass, replace
from typing import Any

import pytest

from claas.core.errors import InvalidInput
from claas.eval.metrics.compliance import Compliance
from claas.eval.metrics.preference import VerifierResult
from claas.results.records import Counts, Transcript
from tests.eval.metrics.subjects import PREFERENCE, SHORT, measure, subject
from tests.fakes.stack import FakeStack

LONG = "The rain falls on the green hills. " * 6  # six sentences score 0.5


def everywhere(text: str) -> dict[str, str]:
    return dict.fromkeys(PREFERENCE.probe_prompts + PREFERENCE.heldout_prompts, text)


def test_values_are_the_hand_computed_ones() -> None:
    answers = everywhere(SHORT) | {"Why is there fog?": LONG, "Why is there hail?": ""}
    stack = FakeStack(answers=answers, cut_off={"Why is there fog?"})
    found = measure(Compliance(), subject(stack))
    assert found.values == {
        "preference_compliance": 1.0,
        "heldout_compliance": pytest.approx(0.5),
        "generalisation_gap": pytest.approx(0.5),
    }
    assert found.counts == {
        "compliance": Counts(planned=2, scored=2, errored=0),
        "heldout": Counts(planned=3, scored=3, errored=0, truncated=1),
    }
    assert [rollout.item for rollout in found.rollouts] == ["probe/0", "probe/1", "heldout/0", "heldout/1", "heldout/2"]
    assert found.rollouts[3].verdict == {"score": 0.5, "passed": False, "sentences": 6.0, "words": 42.0}


def test_answers_are_greedy_and_asked_once_each() -> None:
    stack = FakeStack(answers=everywhere(SHORT))
    measure(Compliance(), subject(stack))
    assert [asked.temperature for asked in stack.asked] == [0.0] * 5


def test_a_lost_answer_is_counted_and_never_averaged() -> None:
    stack = FakeStack(answers=everywhere(SHORT), lost={"Why does it rain?", "Why is there fog?"})
    found = measure(Compliance(), subject(stack))
    assert found.values["preference_compliance"] == 1.0
    assert found.counts["compliance"] == Counts(planned=2, scored=1, errored=1)
    lost = [rollout for rollout in found.rollouts if rollout.error is not None]
    assert [(rollout.item, rollout.response, rollout.verdict) for rollout in lost] == [
        ("probe/0", None, None),
        ("heldout/1", None, None),
    ]


def test_the_mean_of_nothing_is_none() -> None:
    stack = FakeStack(answers=everywhere(SHORT), lost=set(PREFERENCE.heldout_prompts))
    found = measure(Compliance(), subject(stack))
    assert found.values == {
        "preference_compliance": 1.0,
        "heldout_compliance": None,
        "generalisation_gap": None,
    }


def test_the_verifier_does_not_see_thinking() -> None:
    found = measure(Compliance(), subject(FakeStack(answers=everywhere(f"<think>{LONG * 3}</think>{SHORT}"))))
    assert found.values["preference_compliance"] == 1.0


def test_the_prompt_said_back_scores_0() -> None:
    prompt = "please explain to me, in your own words, why rain falls down"
    preference = replace(PREFERENCE, probe_prompts=(prompt,))
    assert preference.verifier(prompt).passed
    found = measure(
        Compliance(), subject(FakeStack(answers=everywhere(SHORT) | {prompt: f"“{prompt.upper()}”!"}), preference)
    )
    assert found.values["preference_compliance"] == 0.0
    assert found.rollouts[0].verdict == {"score": 0.0, "passed": False, "echo": True}


@dataclass(frozen=True)
class Returning:
    value: Any

    def __call__(self, response: str) -> Any:
        return self.value


@pytest.mark.parametrize("value", [True, 0.5, VerifierResult(1.5, True), VerifierResult(float("nan"), False)])
def test_a_verifier_that_breaks_its_promise_is_named(value: Any) -> None:
    preference = replace(PREFERENCE, verifier=Returning(value))
    with pytest.raises(InvalidInput, match="Returning must return a VerifierResult"):
        measure(Compliance(), subject(FakeStack(answers=everywhere(SHORT)), preference))


def test_what_a_verifier_says_can_be_written_down() -> None:
    result = VerifierResult(1.0, True, {"count": 2, "ratio": float("nan"), "why": "so"})
    preference = replace(PREFERENCE, verifier=Returning(result))
    found = measure(Compliance(), subject(FakeStack(answers=everywhere(SHORT)), preference))
    again = Transcript.model_validate_json(found.rollouts[0].model_dump_json())
    assert again.verdict == {"score": 1.0, "passed": True, "count": 2, "ratio": "nan", "why": "so"}
