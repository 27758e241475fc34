"""Whole runs through a proxy with one fault each: it is caught, called by its name, and none of it becomes a number."""

import asyncio
import re
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.eval.runner import run_harness
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.fakes.engine import BASE_MODEL, FakeEngine
from tests.fakes.proxy import Body, Reroute, behind_proxy


def run(
    folder: Path,
    *,
    engine: FakeEngine | None = None,
    metrics: str = "quick",
    fail_on_error: bool | float = 0.1,
    **faults: Any,
) -> RunResults:
    """Two small preferences of three steps each, through a proxy with these faults."""
    config = EvalConfig(
        base_model=BASE_MODEL,
        preferences=["calm", "brief"],
        metrics=[metrics],
        num_steps=3,
        plots=False,
        output_dir=str(folder / "run"),
        config_dir=str(small_preferences(folder / "mine", "calm", "brief")),
        fail_on_error=fail_on_error,
    )
    results = asyncio.run(run_harness(config, open_stack=behind_proxy(engine or FakeEngine(folder), **faults)))
    require_recomputable(results.run_dir)
    return results


def test_without_a_fault_both_preferences_finish(tmp_path: Path) -> None:
    results = run(tmp_path, lies=True)
    assert not results.failures
    assert [len(history.steps) for history in results.preferences.values()] == [3, 3]


def stale(name: str, version: int) -> str:
    """The version before the one that was asked for."""
    return f"{name}@{max(version - 1, 0)}"


def stuck(name: str, version: int) -> str:
    """No update after the first arrives."""
    return f"{name}@{min(version, 1)}"


def old(name: str, version: int) -> str:
    """The third update brings back the first."""
    return f"{name}@{1 if version == 3 else version}"


def base(name: str, version: int) -> str:
    """The base model answers for whatever was trained."""
    return BASE_MODEL if version else f"{name}@0"


def base_later(name: str, version: int) -> str:
    """The base model answers from version 2 on."""
    return BASE_MODEL if version > 1 else f"{name}@{version}"


def others(name: str, version: int) -> str:
    """Once trained, every adapter is that of the preference that came first."""
    return f"eval-calm-run@{version}" if version else f"{name}@0"


def others_at_first(name: str, version: int) -> str:
    """What should be a fresh adapter is the trained one of another preference."""
    return "eval-calm-run@3" if name == "eval-brief-run" and version == 0 else f"{name}@{version}"


@pytest.mark.parametrize(
    ("reroute", "preference", "steps", "said"),
    [
        (stale, "calm", 0, "eval-calm-run@1 .*exactly as version 0 did.*the update has not reached the weights"),
        (stuck, "calm", 1, "eval-calm-run@2 .*exactly as version 1 did.*the update has not reached the weights"),
        (old, "calm", 2, "eval-calm-run@3 .*exactly as version 1 did.*a stale adapter answers"),
        (base, "calm", 0, "eval-calm-run@1 .*exactly as version 0 did.*the update has not reached the weights"),
        (base_later, "calm", 1, "eval-calm-run@2 .*exactly as eval-calm-run@0 did, and so as the base model"),
        (others, "brief", 0, "eval-brief-run@1 .*exactly as eval-calm-run@1 did.*one preference's adapter"),
        (others_at_first, "brief", 0, "eval-brief-run@0 scores .* nats and the base model .* nats: a new adapter"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("lies", [True, False], ids=["with a false name", "openly"])
def test_other_weights_than_were_asked_for_are_caught(
    tmp_path: Path, reroute: Reroute, preference: str, steps: int, said: str, lies: bool
) -> None:
    results = run(tmp_path, metrics="logprob", reroute=reroute, lies=lies)
    failure = results.failures[preference]
    assert len(results.preferences[preference].steps) == steps
    if lies:
        assert re.match(f"wrong weights: {said}", failure), failure
    else:
        asked = f"eval-{preference}-run@{1 + steps if reroute is not others_at_first else 0}"
        assert failure.startswith(f"wrong weights: asked {asked} "), failure
        assert f"answered by {reroute(*_parts(asked))} " in failure


def _parts(model: str) -> tuple[str, int]:
    name, _, version = model.partition("@")
    return name, int(version)


def test_a_stale_replica_among_good_ones_is_caught(tmp_path: Path) -> None:
    turn = count()
    failures = run(tmp_path, reroute=lambda name, version: f"{name}@{version * (next(turn) % 2)}", lies=True).failures
    assert "more than one set of weights answers under its name" in failures["calm"]


def test_a_run_that_was_refused_goes_on_once_the_right_weights_answer(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    failures = run(tmp_path, engine=engine, reroute=stuck, lies=True).failures
    again = run(tmp_path, engine=engine, reroute=stuck, lies=True).failures
    assert "exactly as version 1 did" in failures["calm"]
    assert again["calm"] == failures["calm"], "version 1 is known from the record"
    results = run(tmp_path, engine=engine)
    assert not results.failures
    assert results.summary.status == "complete"


def choice_with(**changes: Any) -> Any:
    def alter(body: Body) -> Body:
        return body | {"choices": [body["choices"][0] | changes]}

    return alter


def reworded(body: Body) -> Body:
    content = body["choices"][0]["message"]["content"].replace("heard", "was told")
    return choice_with(message={"role": "assistant", "content": content})(body)


def excused(body: Body) -> Body:
    return choice_with(message={"role": "assistant", "content": "Error: upstream timed out"})(body)


OUT_OF_SERVICE = {"role": "assistant", "content": "Service temporarily unavailable"}


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (choice_with(logprobs=None), "the reply lacks its logprobs"),
        (choice_with(logprobs={"content": []}), "the reply has no log probabilities"),
        (reworded, r"the answer was altered on the way: it reads '.* was told .*', and its tokens '.*heard"),
        (excused, "the answer was altered on the way: it reads 'Error: upstream timed out'"),
        (choice_with(logprobs=None, message=OUT_OF_SERVICE), "no model is known to have said 'Service temporarily"),
        (lambda body: {"error": {"message": "quota exceeded", "type": "x"}}, "HTTP 200 .*: quota exceeded"),
        (lambda body: {"detail": "no such tenant"}, "HTTP 200 .*: .*no such tenant"),
        (lambda body: httpx.Response(200, html="<h1>Bad   gateway</h1>"), "HTTP 200 .*: <h1>Bad gateway</h1>"),
        (lambda body: body | {"choices": []}, "the reply has no choices"),
    ],
    ids=["logprobs", "tokens", "text", "excuse", "notice", "error", "detail", "page", "choices"],
)
def test_what_is_no_answer_of_the_model_is_lost_and_never_data(tmp_path: Path, alter: Any, said: str) -> None:
    results = run(tmp_path, alter=alter)
    failure = results.failures["calm"]
    assert re.match("baseline: .* measurements were lost", failure), failure
    assert re.search(f"the first: .*{said}", failure), failure
    assert not list(results.run_dir.glob("*/baseline.json"))
    assert not list(results.run_dir.glob("*/ledger.jsonl"))


def test_an_answer_altered_now_and_then_is_counted_as_lost_and_not_trained_on(tmp_path: Path) -> None:
    def snow_becomes_slush(body: Body) -> Body:
        content = body["choices"][0]["message"]["content"].replace("snow", "slush")
        return choice_with(message={"role": "assistant", "content": content})(body)

    results = run(tmp_path, alter=snow_becomes_slush, fail_on_error=False)
    assert not results.failures
    steps = results.preferences["calm"].steps
    assert all("snow" not in response and "slush" not in response for step in steps for response in step.responses)
    lost = [rollout for step in steps for rollout in step.rollouts if rollout.prompt == "What is snow?"]
    assert lost
    assert all(rollout.error and "altered on the way" in rollout.error for rollout in lost)
    assert sum(count.errored for step in steps for count in step.counts.values()) == len(lost)
