"""What is measured of users who ask for the opposite of the preference."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from claas.eval.metrics.compliance import Compliance, Scope
from claas.eval.metrics.preference import NonAnswer, OutOfScope
from claas.eval.metrics.verifiers import DetailedVerifier
from claas.results.records import Counts
from tests.eval import scripted_run
from tests.eval.metrics.subjects import PREFERENCE, SHORT, measure, subject
from tests.fakes.stack import FakeStack

PROMPTS = ("Write an essay on rain.", "Write an essay on snow.", "Write an essay on wind.", "Write an essay on fog.")
ESSAY = " ".join(f"Fact {number} is that the rain falls on the green hills." for number in range(4))
WITH_SCOPE = replace(PREFERENCE, out_of_scope=OutOfScope(PROMPTS, DetailedVerifier()))


def test_the_rate_is_the_share_of_users_who_did_not_get_what_they_asked_for() -> None:
    stack = FakeStack(answers=dict.fromkeys(PROMPTS, ESSAY) | {PROMPTS[2]: SHORT}, cut_off={PROMPTS[0]})
    found = measure(Scope(), subject(stack, WITH_SCOPE))
    assert found.values == {"over_application_rate": 0.25}
    assert found.counts == {"scope": Counts(planned=4, scored=4, errored=0, truncated=1)}
    assert [(rollout.metric, rollout.item) for rollout in found.rollouts] == [
        ("scope", f"out_of_scope/{i}") for i in range(4)
    ]
    assert found.rollouts[2].verdict == {"score": 0.0, "passed": False, "sentences": 2.0, "words": 14.0}
    assert [asked.temperature for asked in stack.asked] == [0.0] * 4


@pytest.mark.parametrize("silence", ["", ".", PROMPTS[0], f"{PROMPTS[0]} {PROMPTS[0]}", "the. " * 9])
def test_a_user_who_gets_no_answer_was_not_served(silence: str) -> None:
    answers = dict.fromkeys(PROMPTS, ESSAY) | {PROMPTS[0]: silence}
    assert measure(Scope(), subject(FakeStack(answers=answers), WITH_SCOPE)).values == {"over_application_rate": 0.25}


def test_what_the_preference_accepts_is_not_accepted_out_of_its_scope() -> None:
    parrot = replace(WITH_SCOPE, acceptable=(NonAnswer.ECHO,))
    answers = dict.fromkeys(PROMPTS, ESSAY) | {PROMPTS[0]: PROMPTS[0]}
    assert measure(Scope(), subject(FakeStack(answers=answers), parrot)).values == {"over_application_rate": 0.25}


def test_a_lost_answer_is_counted_and_never_averaged() -> None:
    stack = FakeStack(answers=dict.fromkeys(PROMPTS, ESSAY) | {PROMPTS[2]: SHORT}, lost={PROMPTS[0], PROMPTS[1]})
    found = measure(Scope(), subject(stack, WITH_SCOPE))
    assert found.values == {"over_application_rate": 0.5}
    assert found.counts == {"scope": Counts(planned=4, scored=2, errored=2)}


def test_when_every_answer_is_lost_the_rate_is_due_and_not_known() -> None:
    found = measure(Scope(), subject(FakeStack(lost=set(PROMPTS)), WITH_SCOPE))
    assert found.values == {"over_application_rate": None}


def test_a_preference_without_such_prompts_has_no_such_number() -> None:
    stack = FakeStack()
    found = measure(Scope(), subject(stack))
    assert (found.values, found.counts, found.rollouts, stack.asked) == ({}, {}, (), [])


def test_every_record_says_whether_the_preference_generalises_and_some_whether_it_keeps_to_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = replace(scripted_run.PREFERENCE, out_of_scope=WITH_SCOPE.out_of_scope)
    monkeypatch.setattr(scripted_run, "PREFERENCE", wanted)
    monkeypatch.setattr(scripted_run, "METRICS", {"compliance": Compliance(), "scope": Scope()})
    answers = dict.fromkeys(PROMPTS, ESSAY) | {PROMPTS[0]: SHORT}
    settings = scripted_run.settings(tmp_path / "run", checkpoints=[2])
    asyncio.run(scripted_run.run(FakeStack(answers=answers), settings))
    found = scripted_run.outcome(tmp_path / "run")
    every_step = {"preference_compliance": 1.0, "heldout_compliance": 1.0, "generalisation_gap": 0.0}
    due = every_step | {"over_application_rate": 0.25}
    assert [record["eval"] for record in (found["baseline"], *found["steps"])] == [due, every_step, every_step, due]
    for record in (found["baseline"], found["steps"][2]):
        assert {name: record["counts"][name]["planned"] for name in ("compliance", "heldout", "scope")} == {
            "compliance": 3,
            "heldout": 1,
            "scope": 4,
        }
