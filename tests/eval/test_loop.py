"""What the loop does with lost answers, slow stacks and wrong weights."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from claas.core.errors import InvalidInput, StackError
from claas.eval.metrics.metric import Measurement
from claas.eval.protocols.tracks import prompts_of
from claas.eval.run.measuring import require_enough
from claas.eval.run.reporter import Silent
from claas.eval.stacks.stack import LostAnswer, WrongWeights
from claas.results.records import Counts, StepRecord
from tests.eval import scripted_run
from tests.eval.scripted_run import METRICS, PAIR, PREFERENCE, Halting, outcome, run, settings, talkative


def test_a_step_is_recorded_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    stack = talkative()
    asyncio.run(run(stack, settings(tmp_path / "run")))
    steps = outcome(tmp_path / "run")["steps"]
    assert [step["adapter"]["version"] for step in steps] == [1, 2, 3]
    first = steps[0]
    assert first["feedback_given"] == "Say Kuro"
    assert first["sdpo_metrics"] == {"total_loss": 1.0}
    assert len(first["prompts"]) == len(first["responses"]) == len(first["rollout_ids"]) == 2
    assert first["counts"]["sample"] == {"planned": 2, "scored": 2, "errored": 0, "truncated": 0}
    assert {rollout["metric"] for rollout in first["rollouts"]} == {"sample", "talk", "pair"}
    assert first["tokens"]["scored"] == 4
    sampled = [rollout for rollout in first["rollouts"] if rollout["metric"] != "pair"]
    assert first["tokens"]["completion"] == sum(rollout["completion_tokens"] for rollout in sampled)
    assert all(
        asked.adapter.version == 1
        for asked in stack.asked
        if asked.text == "Where?" and asked.seed == sampled[-1]["seed"]
    )


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        asyncio.run(run(talkative(), settings(tmp_path / name / "run", seed=seed)))
    assert outcome(tmp_path / "a" / "run") == outcome(tmp_path / "b" / "run")
    assert outcome(tmp_path / "a" / "run") != outcome(tmp_path / "c" / "run")


def test_a_lost_answer_is_recorded_and_neither_trained_on_nor_made_up(tmp_path: Path) -> None:
    stack = talkative(lost={"What?"})
    asyncio.run(run(stack, settings(tmp_path / "run", fail_on_error=False, batch_size=3)))
    for step in outcome(tmp_path / "run")["steps"]:
        assert sorted(step["prompts"]) == ["Who?", "Why?"]
        lost = [rollout for rollout in step["rollouts"] if rollout["metric"] == "sample" and rollout["error"]]
        assert [rollout["prompt"] for rollout in lost] == ["What?"]
        assert lost[0]["response"] is None
        assert step["counts"]["sample"] == {"planned": 3, "scored": 2, "errored": 1, "truncated": 0}


def test_when_all_answers_are_lost_nothing_is_trained_and_the_run_can_go_on(tmp_path: Path) -> None:
    stack, config = talkative(lost=set(PREFERENCE.probe_prompts)), settings(tmp_path / "run", fail_on_error=False)
    with pytest.raises(StackError, match="step 0: 2 of 2 sampled answers were lost"):
        asyncio.run(run(stack, config))
    assert not stack.receipts
    stack.lost.clear()
    asyncio.run(run(stack, config))
    assert len(outcome(tmp_path / "run")["steps"]) == 3


def test_fail_on_error_true_ends_at_the_first_lost_answer(tmp_path: Path) -> None:
    stack = talkative(lost={"What?"})
    with pytest.raises(StackError, match="baseline: 1 of 5 measurements were lost"):
        asyncio.run(run(stack, settings(tmp_path / "run", fail_on_error=True)))
    assert not (tmp_path / "run" / "kuro" / "baseline.json").exists()


def test_fail_on_error_true_also_ends_at_a_lost_sample(tmp_path: Path) -> None:
    class LosesSamples(Halting):
        async def answer(self, adapter, prompt, *, temperature, **asked):
            self.inner.lost = {"What?"} if 0 < temperature < 1 else set()
            return await super().answer(adapter, prompt, temperature=temperature, **asked)

    with pytest.raises(StackError, match="step 0: 1 of 3 sampled answers were lost"):
        asyncio.run(run(LosesSamples(talkative()), settings(tmp_path / "run", fail_on_error=True, batch_size=3)))


@pytest.mark.parametrize(
    ("fail_on_error", "errored", "ends"),
    [(True, 1, True), (True, 0, False), (False, 10, False), (0.1, 1, False), (0.1, 2, True), (0.0, 1, True)],
)
def test_fail_on_error_says_how_much_may_be_lost(fail_on_error: bool | float, errored: int, ends: bool) -> None:
    counts = {"talk": Counts(planned=10, scored=10 - errored, errored=errored)}
    if ends:
        with pytest.raises(StackError, match=f"{errored} of 10"):
            require_enough("step 3", counts, fail_on_error)
    else:
        require_enough("step 3", counts, fail_on_error)


def test_too_much_lost_is_measured_again_when_the_run_goes_on(tmp_path: Path) -> None:
    stack, config = talkative(), settings(tmp_path / "run")

    class LosesAtVersion2(Halting):
        async def score(self, adapter, messages, completion):
            if adapter.version == 2 and completion == PAIR.positive_response:
                raise LostAnswer("scripted loss")
            return await super().score(adapter, messages, completion)

    with pytest.raises(StackError, match=r"step 1: 1 of 5 measurements were lost \(1 of pair\)"):
        asyncio.run(run(LosesAtVersion2(stack), config))
    asyncio.run(run(Halting(stack), config))
    asyncio.run(run(talkative(), settings(tmp_path / "unbroken" / "run")))
    assert outcome(tmp_path / "run") == outcome(tmp_path / "unbroken" / "run")


def test_wrong_weights_end_the_preference_at_once(tmp_path: Path) -> None:
    class Swaps(Halting):
        async def score(self, adapter, messages, completion):
            if adapter.version == 1:
                raise WrongWeights("asked 1, answered by 0")
            return await super().score(adapter, messages, completion)

    with pytest.raises(WrongWeights):
        asyncio.run(run(Swaps(talkative()), settings(tmp_path / "run")))
    assert not (tmp_path / "run" / "kuro" / "steps.jsonl").exists()


def test_a_run_takes_as_long_as_its_phases_and_not_as_its_requests(tmp_path: Path) -> None:
    prompts = tuple(f"Question {i}?" for i in range(40))
    preference = replace(PREFERENCE, probe_prompts=prompts)
    stack = Halting(talkative(), delay_s=0.05)
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripted_run, "PREFERENCE", preference)
        asyncio.run(run(stack, settings(tmp_path / "run", num_steps=4, batch_size=8)))
    assert stack.calls * 0.05 > 8 * (time.monotonic() - started)


def test_the_next_step_is_under_way_while_a_version_is_measured(tmp_path: Path) -> None:
    stack = Halting(talkative(), delay_s=0.01)
    asyncio.run(run(stack, settings(tmp_path / "run")))
    measured = [at for at, (_, kind, version) in enumerate(stack.log) if (kind, version) == ("measure", 1)]
    sampled, trained = stack.log.index(("begin", "sample", 1)), stack.log.index(("end", "feedback", 1))
    assert sampled < measured[-1]
    assert measured[0] < trained


def test_at_most_one_version_is_measured_behind_the_updates(tmp_path: Path) -> None:
    class SlowToMeasure(Halting):
        async def answer(self, adapter, prompt, *, temperature, **asked):
            await asyncio.sleep(0.1 if temperature == 0 else 0)
            return await super().answer(adapter, prompt, temperature=temperature, **asked)

    stack = SlowToMeasure(talkative())
    asyncio.run(run(stack, settings(tmp_path / "run")))
    assert stack.log.index(("end", "feedback", 1)) < stack.log.index(("begin", "measure", 2))
    last_of_first = len(stack.log) - 1 - stack.log[::-1].index(("end", "measure", 1))
    assert last_of_first < stack.log.index(("begin", "feedback", 2)), "step 2 waits for version 1 to be on record"


def test_everything_is_told_in_order(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []

    class Listener(Silent):
        def preference_started(self, name: str, resumed_at: int) -> None:
            told.append(("started", resumed_at))

        def baseline_measured(self, name, baseline) -> None:
            told.append(("baseline", baseline.adapter.version))

        def step_finished(self, name: str, record: StepRecord, seconds: float) -> None:
            assert seconds > 0
            told.append(("step", record.step))

    config, stack = settings(tmp_path / "run", num_steps=2), talkative()
    asyncio.run(run(stack, config, Listener()))
    asyncio.run(run(stack, settings(tmp_path / "run", num_steps=3), Listener()))
    assert told == [
        *[("started", 0), ("baseline", 0), ("step", 0), ("step", 1)],
        *[("started", 2), ("baseline", 0), ("step", 2)],
    ]


def test_two_metrics_cannot_report_the_same_number(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripted_run, "METRICS", {**METRICS, "again": METRICS["talk"]})
        with pytest.raises(InvalidInput, match="two metrics report"):
            asyncio.run(run(talkative(), settings(tmp_path / "run")))


def test_a_metric_that_is_not_due_leaves_no_trace(tmp_path: Path) -> None:
    class AtTheEnd:
        def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
            return step in checkpoints

        async def measure(self, subject) -> Measurement:
            return Measurement(values={"rare": 1.0}, counts={})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripted_run, "METRICS", {"rare": AtTheEnd()})
        asyncio.run(run(talkative(), settings(tmp_path / "run", checkpoints=[2])))
    assert [step["eval"] for step in outcome(tmp_path / "run")["steps"]] == [{}, {}, {"rare": 1.0}]


@hypothesis_settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 30), st.integers(0, 2**40))
def test_every_prompt_is_asked_as_often_as_any_other(prompts: int, batch: int, steps: int, seed: int) -> None:
    probes = [f"prompt {i}" for i in range(prompts)]
    asked = Counter(prompt for step in range(steps) for prompt in prompts_of(step, batch, probes, seed, "kuro"))
    times = [asked[prompt] for prompt in probes]
    assert sum(times) == steps * batch
    assert max(times) - min(times) <= 1


def test_what_a_version_said_is_predicted_of_the_next_also_after_a_resume(tmp_path: Path) -> None:
    stack, going_on = talkative(), talkative()
    asyncio.run(run(stack, settings(tmp_path / "run", num_steps=2)))
    going_on.adapters, going_on.receipts = stack.adapters, stack.receipts
    asyncio.run(run(going_on, settings(tmp_path / "run", num_steps=3)))
    asked = [each for each in (*stack.asked, *going_on.asked) if each.kind == "answer" and each.text == "Where?"]
    greedy = [each for each in asked if each.temperature == 0]
    steps = outcome(tmp_path / "run")["steps"]
    said = [next(each["response"] for each in step["rollouts"] if each["prompt"] == "Where?") for step in steps]
    assert len(greedy) == 4
    assert greedy[0].prediction == ""
    assert [each.prediction for each in greedy[2:]] == said[:2]
    assert not any(each.prediction for each in (*stack.asked, *going_on.asked) if each.temperature)


def test_what_the_next_update_waits_for_is_urgent_and_nothing_else(tmp_path: Path) -> None:
    stack = talkative()
    asyncio.run(run(stack, settings(tmp_path / "run")))
    assert {each.temperature for each in stack.asked if each.urgent} == {0.7}
    assert {each.urgent for each in stack.asked if each.temperature == 0.7} == {True}
