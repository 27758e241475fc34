"""Arms: what the run is told, what is beside it, and what is compared; each on the same prompts and seeds."""

import dataclasses
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from claas.core.errors import InvalidInput
from claas.core.hindsight import with_hindsight
from claas.core.settings import MODES, Mode, TrainingConfig
from claas.dashboard.report import write_report
from claas.eval.config.catalog import load_preference
from claas.eval.protocols.arms import NEUTRAL
from claas.eval.reporters.verdict_table import verdict_report
from claas.eval.run.step import feedback_items
from claas.results.ledger import Intent
from claas.results.manifest import read_manifest
from claas.results.run_files import RunFiles
from claas.results.settings import EvalConfig
from tests.eval.protocol_runs import config, ran, scripted
from tests.eval.small_preferences import small_preferences

GATEWAY = {"openclaw_url": "http://127.0.0.1:1", "claas_url": "http://127.0.0.1:2"}


def test_controls_are_asked_the_same_with_the_same_seeds_and_are_not_judged(tmp_path: Path) -> None:
    controls = ["in_context", "neutral", "irrelevant", "off_policy"]
    stack = scripted()
    results = ran(config(tmp_path, "isolated", preferences=["calm"], controls=controls, num_steps=3), stack)
    names = ["calm", "calm.neutral", "calm.irrelevant", "calm.off_policy"]
    assert list(results.preferences) == names
    given = {name: {step.feedback_given for step in history.steps} for name, history in results.preferences.items()}
    assert given == {
        "calm": {"Please be calm"},
        "calm.neutral": {NEUTRAL},
        "calm.irrelevant": {load_preference("concise").feedback_string},
        "calm.off_policy": {"Please be calm"},
    }
    run, *beside = (results.preferences[name] for name in names)
    for control in beside:
        sampled = [[(t.prompt, t.seed) for t in step.rollouts if t.metric == "sample"] for step in run.steps]
        assert [
            [(t.prompt, t.seed) for t in step.rollouts if t.metric == "sample"] for step in control.steps
        ] == sampled
        assert [bool(step.eval) for step in control.steps] == [False, False, True]
        assert results.summary.preferences[control.preference].criteria == {}
    assert set(results.summary.arms["calm"]) == set(controls)
    off_policy = results.preferences["calm.off_policy"]
    told = {t.response for step in off_policy.steps for t in step.rollouts if t.metric == "sample"}
    assert all("calm.off_policy-run@0" in (text or "") for text in told), "whatever was learned since"


def test_in_context_is_the_base_model_with_the_feedback_before_the_prompt(tmp_path: Path) -> None:
    baseline = ran(config(tmp_path, "isolated", preferences=["calm"])).preferences["calm"].baseline
    assert baseline is not None
    asked = {each.item: each.prompt for each in baseline.rollouts if each.metric == "in_context"}
    assert asked == {
        "heldout/0": "Please be calm\n\nWhat is wind?",
        "heldout/1": "Please be calm\n\nWhat is ice?",
    }


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("isolated", {"controls": ["neutrl"]}, "unknown control 'neutrl'; did you mean neutral"),
        ("isolated", {"arm": "neutrl"}, "unknown arm 'neutrl'; did you mean neutral"),
        (
            "isolated",
            {"arm": "in_context_history"},
            "arm=in_context_history trains nothing; ask for it beside the run: controls=",
        ),
        ("isolated", {"arm": "neutral", "controls": ["neutral"]}, "is what the run itself does, arm=neutral"),
        (
            "sequential",
            {"controls": ["irrelevant"], "preferences": ["concise", "no_emoji", "identity"]},
            "no preference that sequential is not about",
        ),
        ("isolated", {"controls": ["neutral"], "metrics": ["logprob"]}, "compared by compliance, which metrics="),
        (
            "mixed",
            {"controls": ["irrelevant"], "preferences": ["concise", "no_emoji", "identity"]},
            "no preference that mixed is not about",
        ),
    ],
)
def test_a_control_that_cannot_be_compared_is_refused_before_anything_starts(
    tmp_path: Path, kind: str, changes: dict[str, Any], says: str
) -> None:
    stack = scripted()
    with pytest.raises(InvalidInput, match=says):
        ran(config(tmp_path, kind, **changes), stack)
    assert not stack.asked


def test_sft_trains_the_teachers_answers_as_answers_to_the_prompt_alone(tmp_path: Path) -> None:
    stack = scripted()
    results = ran(config(tmp_path, "isolated", preferences=["calm"], controls=["sft"]), stack)
    ledger = [json.loads(line) for line in (results.run_dir / "calm.sft" / "ledger.jsonl").read_text().splitlines()]
    plain = [step.prompts for step in results.preferences["calm"].steps]
    intents = [Intent.model_validate(line) for line in ledger if line["kind"] == "intent"]
    assert [intent.answers for intent in intents] == plain
    for intent, asked in zip(intents, plain, strict=True):
        assert intent.prompts == [with_hindsight([user(prompt)], "Please be calm", 1)[0]["content"] for prompt in asked]
        sent = feedback_items(intent, results.config.training_of("sft"))
        assert [[turn.text for turn in each.conversation or ()] for each in sent] == [[prompt] for prompt in asked]
        assert {each.training.objective for each in sent} == {"sft"}
        assert all("calm.sft-run@0" in response for response in intent.responses), "the teacher is the base model"
    assert results.summary.arms["calm"]["sft"].compliance.n == 2


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(("window", "kept"), [(20, 0), (70, 3), (2048, 4)])
def test_in_context_history_keeps_the_newest_conversations_that_fit(tmp_path: Path, window: int, kept: int) -> None:
    stack = scripted()
    stack.window = window
    results = ran(
        config(tmp_path, "isolated", preferences=["calm"], controls=["in_context_history"], max_tokens=16), stack
    )
    history = results.preferences["calm"]
    assert history.baseline is not None
    assert history.baseline.eval["in_context_history"] == {"heldout_compliance": 1.0, "interactions": float(kept)}
    asked = {each.item: each for each in history.baseline.rollouts if each.metric == "in_context_history"}
    past = [asked[f"past/{place}"] for place in range(4)]
    assert [each.prompt for each in past] == [prompt for step in history.steps for prompt in step.prompts]
    turns = [
        turn
        for each in past[4 - kept :]
        for turn in (
            user(each.prompt),
            {"role": "assistant", "content": each.response},
            user("Please be calm"),
            {"role": "assistant", "content": "Okay."},
        )
    ]
    assert asked["heldout/0"].earlier == (turns or None)
    assert asked["heldout/0"].prompt == "What is wind?"
    room = window - min(16, window // 4) - window // 8
    assert (asked["heldout/0"].prompt_tokens or 0) <= room
    assert results.summary.arms["calm"]["in_context_history"].compliance.n == 2
    with pytest.raises(InvalidInput, match="holds a run of other rounds"):
        ran(replace_steps(results.config, 3), stack)


def replace_steps(config: EvalConfig, num_steps: int) -> EvalConfig:
    return dataclasses.replace(config, num_steps=num_steps, checkpoints=None)


def test_a_history_holds_the_stages_before_it_too(tmp_path: Path) -> None:
    asked = config(tmp_path, "sequential", preferences=["calm", "warm"], controls=["in_context_history"], max_tokens=16)
    baselines = [each.baseline for each in ran(asked).preferences.values()]
    kept = [dict(baseline.eval["in_context_history"] or {})["interactions"] for baseline in baselines if baseline]
    assert kept == [4.0, 8.0]


@pytest.mark.parametrize("kind", ["sequential", "flip"])
def test_a_control_is_a_second_life_of_all_that_its_adapter_learns(tmp_path: Path, kind: str) -> None:
    asked = config(tmp_path, kind, preferences=["calm", "warm"], controls=["neutral", "off_policy"])
    results = ran(asked)
    versions = {name: [step.adapter.version for step in each.steps] for name, each in results.preferences.items()}
    second = [3, 4] if kind == "sequential" else [1, 2]
    lives = ["", ".neutral", ".off_policy"]
    assert versions == {f"{name}{arm}": of for arm in lives for name, of in (("calm", [1, 2]), ("warm", second))}
    assert {step.feedback_given for step in results.preferences["warm.neutral"].steps} == {NEUTRAL}
    assert {name: set(arms) for name, arms in results.summary.arms.items()} == {
        name: {"neutral", "off_policy"} for name in ("calm", "warm")
    }
    transfer = results.summary.transfer
    assert (transfer.preferences if transfer else None) == (["calm", "warm"] if kind == "sequential" else None)


def test_each_stage_alone_shows_what_learning_after_others_costs(tmp_path: Path) -> None:
    results = ran(config(tmp_path, "sequential", preferences=["calm", "warm"], controls=["isolated"]))
    versions = {name: [step.adapter.version for step in each.steps] for name, each in results.preferences.items()}
    assert versions == {"calm": [1, 2], "warm": [3, 4], "calm.isolated": [1, 2], "warm.isolated": [1, 2]}
    adapters = {each.baseline.adapter.lora_id for each in results.preferences.values() if each.baseline}
    assert len(adapters) == 3
    told = {name: [step.feedback_given for step in each.steps] for name, each in results.preferences.items()}
    assert told["warm.isolated"] == told["warm"]
    transfer = results.summary.transfer
    assert transfer is not None
    assert transfer.preferences == ["calm", "warm"]
    assert transfer.numbers["intransigence"].value is not None


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("isolated", {"controls": ["isolated"]}, "every track has an adapter of its own"),
        ("sequential", {"arm": "isolated"}, "ask for protocol=isolated"),
    ],
)
def test_alone_is_a_control_of_what_learns_after_others(
    tmp_path: Path, kind: str, changed: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        ran(config(tmp_path, kind, preferences=["calm", "warm"], **changed))


def test_the_run_itself_may_be_an_arm(tmp_path: Path) -> None:
    asked = config(tmp_path, "isolated", preferences=["calm"], arm="neutral", controls=["feedback"])
    results = ran(asked)
    told = {name: {step.feedback_given for step in each.steps} for name, each in results.preferences.items()}
    assert told == {"calm": {NEUTRAL}, "calm.feedback": {"Please be calm"}}
    assert results.summary.preferences["calm"].criteria, "it is judged as any run"
    assert [(track.arm, track.control_of) for track in read_manifest(RunFiles(results.run_dir)).tracks or ()] == [
        ("neutral", None),
        ("feedback", "calm"),
    ]
    write_report(results.run_dir, ended=True)
    assert "· arm neutral" in (results.run_dir / "report.html").read_text()
    with pytest.raises(InvalidInput, match="arm was 'neutral', now 'feedback'"):
        ran(config(tmp_path, "isolated", preferences=["calm"], controls=["neutral"]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"controls": ["sft"], "user": "when_violated"}, "the arm sft needs user=always: its answers come from"),
        ({"controls": ["in_context_history"], "user": "when_violated"}, "the arm in_context_history needs user=always"),
        (
            {"controls": ["in_context_history"], **GATEWAY},
            "cannot be run through a gateway: a gateway keeps",
        ),
        ({"arm": "sft", **GATEWAY}, "the arm sft cannot be run through a gateway: what the gateway adds"),
        ({"arm": "sft", "training": TrainingConfig(kl_reg_weight=0.1)}, "training.kl_reg_weight=0.1 is estimated on"),
        ({"training": TrainingConfig(objective="sft")}, "choose arm=sft or controls="),
        (
            {"controls": ["sft"], "mode": "toy"},
            "sft is not possible with mode=toy, whose updates are sdpo only",
        ),
    ],
)
def test_an_arm_that_a_run_cannot_have_is_refused(
    changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODES, "toy", Mode("tests.fakes.toy_engine", "fake-base"))
    with pytest.raises(InvalidInput, match=says):
        EvalConfig(**changes)


def test_praise_beside_a_mixture_of_all_there_is_needs_no_other_preference(tmp_path: Path) -> None:
    every = ["concise", "no_emoji", "identity"]
    results = ran(config(tmp_path, "mixed", preferences=every, controls=["neutral"], limit={"heldout": 2}))
    assert list(results.preferences) == ["mixed", "mixed.neutral"]


def test_a_preference_called_like_a_control_keeps_its_folder_and_its_verdict(tmp_path: Path) -> None:
    small_preferences(tmp_path / "mine", "calm.neutral", "calm.in_context")
    with pytest.raises(InvalidInput, match=r"a track cannot be called 'calm\.neutral'"):
        ran(config(tmp_path, "isolated", preferences=["calm", "calm.neutral"], controls=["neutral"]))
    controls = ["in_context", "neutral"]
    results = ran(config(tmp_path, "isolated", preferences=["calm", "calm.in_context"], controls=controls))
    screen = Console(record=True, width=110, file=StringIO())
    screen.print(verdict_report(results.summary, results.run_dir))
    shown = [line.split(":")[0] for line in screen.export_text().splitlines() if " (" in line and ": " in line]
    judged = [name for name in results.summary.preferences if name in shown]
    assert judged == ["calm", "calm.in_context"], "not calm.neutral"


def test_a_run_goes_on_with_the_controls_that_it_was_started_with(tmp_path: Path) -> None:
    ran(config(tmp_path, "isolated", preferences=["calm"], controls=["neutral"]))
    with pytest.raises(InvalidInput, match=r"controls was \['neutral'\], now \['in_context'\]"):
        ran(config(tmp_path, "isolated", preferences=["calm"], controls=["in_context"]))


def test_a_run_from_before_there_were_controls_goes_on_without_any(tmp_path: Path) -> None:
    asked, stack = config(tmp_path, "isolated", preferences=["calm"], controls=[]), scripted()
    ran(asked, stack)
    path = tmp_path / "run" / "config.json"
    manifest = json.loads(path.read_text())
    for key in ("controls", "protocol"):
        del manifest["config"][key]
    path.write_text(json.dumps(manifest))
    later = config(tmp_path, "isolated", preferences=["calm"], num_steps=3)
    assert later.controls == ["in_context"]
    assert [ran(later, stack).new_steps for _ in range(2)] == [1, 0]


def test_a_page_asks_nothing_of_a_control(tmp_path: Path) -> None:
    run_dir = ran(config(tmp_path, "isolated", preferences=["calm"], controls=["neutral"])).run_dir
    write_report(run_dir, ended=True)
    page = (run_dir / "report.html").read_text()
    assert page.count("Was it learned?") == 1
    assert page.count('<span class="mark plain">control</span>') == 2, "in the table on top, and at its own card"
    assert "No criterion has been measured" not in page


def test_placebo_trains_nothing(tmp_path: Path) -> None:
    results = ran(config(tmp_path, "isolated", preferences=["calm"], controls=["placebo"], num_steps=2))
    placebo = results.preferences["calm.placebo"]
    assert [step.adapter.version for step in placebo.steps] == [0, 0]
    assert results.summary.arms["calm"]["placebo"].control_gain == 0.0
