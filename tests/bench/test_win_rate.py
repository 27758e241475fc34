"""The win rate in a run: judged at checkpoints, on record, never asked for twice, and recomputed without the judge."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.bench.judge.metric import WinRate
from claas.core.errors import InvalidInput, StackError
from claas.eval.config.catalog import load_metrics
from claas.eval.recompute.measurements import replay
from claas.eval.recompute.run import recompute_run
from claas.eval.run.track_run import content_digest
from claas.eval.runner import run_harness
from claas.results.records import AdapterVersion, Baseline, flat
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from tests.bench.rule_judge import RuleJudge, always_first
from tests.eval.every_metric import opening
from tests.eval.metrics.subjects import PREFERENCE, baseline_of, measure, subject
from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.fakes.chat_endpoint import Killed
from tests.fakes.stack import FakeStack

LONG, SHORT = "The air moves because it is warm in one place.", "Warm air moves."
BEFORE = dict.fromkeys(PREFERENCE.heldout_prompts, LONG)


def metric(folder: Path, judge: RuleJudge, **settings: Any) -> WinRate:
    return WinRate.by_endpoint(
        judgments=str(folder / "judgments.jsonl"),
        base_url="http://judge/v1",
        model="rule",
        retry_for_s=0.0,
        transport=httpx.ASGITransport(app=judge),
        **settings,
    )


def measured(of: WinRate, after: Mapping[str, str], **stack: Any) -> tuple[Any, Baseline]:
    """What it finds at a step whose answers are these, and the baseline before it."""
    first = subject(FakeStack(answers=BEFORE))
    baseline = baseline_of(measure(of, first), first)
    return measure(of, subject(FakeStack(answers=after, **stack), baseline=baseline)), baseline


def test_it_is_one_half_at_baseline_and_nobody_is_asked(tmp_path: Path) -> None:
    judge = RuleJudge()
    found = measure(metric(tmp_path, judge), subject(FakeStack(answers=BEFORE)))
    assert found.values["win_rate"] == pytest.approx(
        {"win_rate": 0.5, "low": 0.125, "high": 0.875, "length_controlled": 0.5}
        | {"prompts": 3, "ties": 3, "flipped": 0, "unreadable": 0, "lost": 0},
        abs=1e-3,
    )
    assert judge.bodies == []
    assert [each.response for each in found.rollouts] == [LONG] * 3


def test_the_versions_answers_are_judged_against_those_at_baseline_in_both_orders(tmp_path: Path) -> None:
    judge = RuleJudge()
    first, second, third = PREFERENCE.heldout_prompts
    found, _ = measured(metric(tmp_path, judge), {first: SHORT, second: SHORT, third: f"{LONG} It blows."})
    assert (found.values["win_rate"]["win_rate"], found.values["win_rate"]["prompts"]) == (2 / 3, 3)
    assert len(judge.bodies) == 6
    assert found.counts["win_rate"].model_dump() == {"planned": 9, "scored": 9, "errored": 0, "truncated": 0}
    call = next(each for each in found.rollouts if each.item == "heldout/0/ba")
    assert call.verdict == {
        "model": "rule-2026",
        "prompt_tokens": len(call.prompt) // 4,
        "completion_tokens": 10,
        "winner": "version",
        "score": 1.0,
        "passed": True,
    }
    assert (call.response, call.temperature, call.seed, call.prompt_tokens) == ("Both answer.\n[[A]]", 0.0, 0, None)


def test_what_is_unreadable_or_lost_is_counted_and_is_no_value(tmp_path: Path) -> None:
    _, second, third = PREFERENCE.heldout_prompts
    refusing = RuleJudge(refuse=lambda body: 500 if second in body["messages"][0]["content"] else None)
    found, _ = measured(metric(tmp_path, refusing), dict.fromkeys(BEFORE, SHORT), lost={third})
    assert (found.values["win_rate"]["win_rate"], found.values["win_rate"]["lost"]) == (1.0, 2.0)
    assert (found.counts["win_rate"].planned, found.counts["win_rate"].errored) == (3 + 4, 1 + 2)
    mute = RuleJudge(mute=1.0)
    found, _ = measured(metric(tmp_path, mute, seed=1), dict.fromkeys(BEFORE, SHORT))
    assert (found.values["win_rate"]["win_rate"], found.values["win_rate"]["unreadable"]) == (None, 3.0)
    assert found.counts["win_rate"].errored == 0  # asked again, it would say the same: no run waits for that
    call = found.rollouts[-1]
    assert call.response.endswith("I cannot say.")
    assert (call.error, call.verdict["winner"]) == (None, "unreadable")


def test_the_order_that_decides_is_a_tie(tmp_path: Path) -> None:
    found, _ = measured(metric(tmp_path, RuleJudge(rule=always_first)), dict.fromkeys(BEFORE, SHORT))
    assert (found.values["win_rate"]["win_rate"], found.values["win_rate"]["flipped"]) == (0.5, 3.0)


def test_it_is_recomputed_from_its_transcripts_alone(tmp_path: Path) -> None:
    first, second, _ = PREFERENCE.heldout_prompts
    judge = RuleJudge(mute=0.3, refuse=lambda body: 500 if second in body["messages"][0]["content"] else None)
    of = metric(tmp_path, judge)
    found, baseline = measured(of, {first: SHORT})
    asked = len(judge.bodies)
    (tmp_path / "judgments.jsonl").unlink()
    version = AdapterVersion(lora_id="eval/concise", version=1, digest="d")
    again = replay(PREFERENCE, EvalConfig(seed=7), version, 0, baseline, found.rollouts)
    assert measure(of, again) == found
    assert len(judge.bodies) == asked


def test_the_same_reply_is_not_asked_for_twice_whichever_run_it_is_of(tmp_path: Path) -> None:
    judge = RuleJudge()
    one, _ = measured(metric(tmp_path, judge), dict.fromkeys(BEFORE, SHORT))
    other, _ = measured(metric(tmp_path, judge), dict.fromkeys(BEFORE, SHORT))
    assert (one, len(judge.bodies)) == (other, 6)


def test_beyond_its_budget_the_run_ends_and_goes_on_when_that_is_raised(tmp_path: Path) -> None:
    judge, prices = RuleJudge(), {"prompt": 2.5, "completion": 10.0}
    poor = metric(tmp_path, judge, prices=prices, budget_usd=0.004, max_tokens=10)
    with pytest.raises(StackError, match=r"budget_usd=0.004 leaves no room for the next call"):
        measured(poor, dict.fromkeys(BEFORE, SHORT))
    asked = len(judge.bodies)
    assert 0 < asked < 6
    rich = metric(tmp_path, judge, prices=prices, budget_usd=1.0, max_tokens=10)
    assert measured(rich, dict.fromkeys(BEFORE, SHORT))[0].values["win_rate"]["win_rate"] == 1.0
    assert len(judge.bodies) == 6
    assert content_digest(poor) == content_digest(rich)  # so that the same run may go on
    assert content_digest(rich) != content_digest(metric(tmp_path, judge, seed=1))


def test_preferences_that_run_side_by_side_keep_one_budget(tmp_path: Path) -> None:
    judge, prices = RuleJudge(), {"prompt": 2.5, "completion": 10.0}
    of = metric(tmp_path, judge, prices=prices, budget_usd=0.004, max_tokens=10)
    other = replace(PREFERENCE, name="other", heldout_prompts=("Why is the sea salty?", "Why is the sky blue?"))
    baselines = [
        baseline_of(measure(of, at), at)
        for at in (subject(FakeStack(answers=BEFORE)), subject(FakeStack(say=lambda *_: LONG), other))
    ]
    stack = FakeStack(say=lambda *_: SHORT)

    async def both() -> list[Any]:
        asked = zip((PREFERENCE, other), baselines, strict=True)
        return await asyncio.gather(
            *(of.measure(subject(stack, wanted, baseline)) for wanted, baseline in asked), return_exceptions=True
        )

    found = asyncio.run(both())
    assert all(isinstance(each, StackError) for each in found)
    written = [json.loads(line) for line in (tmp_path / "judgments.jsonl").read_text().splitlines()]
    assert 0 < sum(each["prompt_tokens"] * 2.5 + each["completion_tokens"] * 10 for each in written) / 1e6 <= 0.004


def test_without_a_judge_it_is_said_at_baseline_what_to_set() -> None:
    unset = load_metrics(["win_rate"])["win_rate"]
    with pytest.raises(InvalidInput, match="the judge's base_url is not set"):
        measure(unset, subject(FakeStack()))


def run(folder: Path, judge: RuleJudge, monkeypatch: pytest.MonkeyPatch) -> RunResults:
    """A run of two steps whose metric is made from a metrics.yaml."""
    mine = small_preferences(folder / "mine", "calm")
    target = f"{{_target_: {__name__}.from_yaml, judgments: {folder / 'judgments.jsonl'}}}"
    (mine / "metrics.yaml").write_text(f"metrics: {{win_rate: {target}}}\n")
    monkeypatch.setattr(f"{__name__}.JUDGES", [judge])
    config = EvalConfig(
        preferences=["calm"],
        metrics=["compliance", "win_rate"],
        num_steps=2,
        batch_size=1,
        checkpoints=[1],
        plots=False,
        output_dir=str(folder / "run"),
        config_dir=str(mine),
    )
    stack = FakeStack(say=lambda adapter, _, seed: f"{SHORT if adapter.version else LONG} {seed % 7}", shift=0.1)
    stack.adapters, stack.receipts = STORE.setdefault(folder, (stack.adapters, stack.receipts))
    return asyncio.run(run_harness(config, open_stack=opening(stack)))


JUDGES: list[RuleJudge] = []
STORE: dict[Path, Any] = {}


def from_yaml(base_url: str | None, model: str | None, judgments: str) -> WinRate:
    """As the shipped line of metrics.yaml makes it, with a judge in this process."""
    return metric(Path(judgments).parent, JUDGES[-1])


def test_a_run_that_is_killed_while_judging_goes_on_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = RuleJudge(kill_at=3)
    with pytest.raises(Killed):
        run(tmp_path, judge, monkeypatch)
    asked = len((tmp_path / "judgments.jsonl").read_text().splitlines())
    assert asked == 2
    judge.kill_at, judge.bodies = None, []
    results = run(tmp_path, judge, monkeypatch)
    assert len(judge.bodies) == 4 - asked
    steps = results.preferences["calm"].steps
    assert "win_rate" not in steps[0].eval
    assert flat(steps[1].eval)["win_rate.win_rate"] == 1.0
    assert steps[1].tokens["prompt"] < 100  # the judge's tokens are not the stack's
    require_recomputable(results.run_dir)
    assert len(judge.bodies) == 4 - asked
    path = results.run_dir / "calm" / "steps.jsonl"
    path.write_text(path.read_text().replace("[[A]]", "[[B]]"))
    altered = [str(each) for part in asyncio.run(recompute_run(results.run_dir)) for each in part.disagreements]
    assert "steps.jsonl step 1: eval.win_rate.win_rate: recorded 1.0, recomputed 0.5" in altered
    declared = json.loads((results.run_dir / "calm" / "metadata.json").read_text())["keys"]
    assert {"win_rate.win_rate", "win_rate.lost"} <= {each["key"] for each in declared}
