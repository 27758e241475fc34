"""Protocols: rounds as data, one adapter for several preferences, changed minds; each resumed and recomputed."""

import asyncio
import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.core.errors import InvalidInput, StackError
from claas.dashboard.answers import answers
from claas.eval.config.catalog import load_preference
from claas.eval.metrics.limits import limited
from claas.eval.metrics.preference import Preference
from claas.eval.protocols.chosen import PROTOCOLS, tracks_of
from claas.eval.protocols.tracks import Track, rounds_of
from claas.eval.runner import run_harness
from claas.results.efficiency import in_user_units
from claas.results.settings import EvalConfig, ProtocolConfig
from tests.eval.protocol_runs import SHIPPED, config, on, on_record, ran, scripted
from tests.eval.scripted_run import Halting, until_halted
from tests.eval.small_preferences import small_preferences
from tests.fakes.stack import FakeStack


def prompts(tracks: Sequence[Track]) -> Counter[tuple[str, str]]:
    return Counter((item.prompt, item.feedback) for track in tracks for items in track.rounds for item in items)


def test_isolated_gives_every_preference_an_adapter_of_its_own() -> None:
    tracks = tracks_of(EvalConfig(num_steps=7), SHIPPED)
    names = ["concise", "no_emoji", "identity"]
    assert [track.name for track in tracks] == [track.adapter for track in tracks] == names
    assert [track.rounds for track in tracks] == [rounds_of(each, 7, EvalConfig(num_steps=7)) for each in SHIPPED]


def test_sequential_trains_one_adapter_stage_by_stage(tmp_path: Path) -> None:
    protocol = ProtocolConfig(kind="sequential", stages={"warm": 3})
    results = ran(config(tmp_path, "sequential", protocol=protocol))
    versions = {name: [step.adapter.version for step in history.steps] for name, history in results.preferences.items()}
    assert versions == {"calm": [1, 2], "warm": [3, 4, 5], "brief": [6, 7]}
    adapters = {
        record.adapter.lora_id
        for history in results.preferences.values()
        for record in (history.baseline, *history.steps)
        if record
    }
    assert len(adapters) == 1
    baselines = [history.baseline.adapter.version for history in results.preferences.values() if history.baseline]
    assert baselines == [0, 0, 0]
    across = {
        name: [sorted(dict(step.eval.get("across") or {})) for step in history.steps]
        for name, history in results.preferences.items()
    }
    assert across == {
        "calm": [[], ["brief", "warm"]],
        "warm": [[], [], ["brief", "calm"]],
        "brief": [[], ["calm", "warm"]],
    }


@pytest.mark.parametrize(
    ("kind", "late", "controls"),
    [
        ("sequential", False, ["in_context_history", "sft"]),
        ("sequential", True, ["placebo"]),
        ("mixed", True, ["in_context", "off_policy"]),
        ("flip", False, []),
    ],
)
def test_killed_anywhere_a_protocol_goes_on_to_the_same_records(
    tmp_path: Path, kind: str, late: bool, controls: list[str]
) -> None:
    unbroken = Halting(scripted())
    two: dict[str, Any] = {"preferences": ["calm", "warm"], "controls": controls}
    ran(config(tmp_path / "whole", kind, **two), unbroken)
    expected = on_record(tmp_path / "whole" / "run")
    updates = [kind for kind, _, _ in unbroken.log].count("begin")
    for halt_at in range(3, updates, updates // 3):
        asked, stack = config(tmp_path / str(halt_at), kind, **two), scripted()
        dying = Halting(stack, halt_at=halt_at, late=late)
        assert asyncio.run(until_halted(dying, run_harness(asked, open_stack=on(dying))))
        ran(asked, stack)
        assert on_record(tmp_path / str(halt_at) / "run") == expected, f"killed at call {halt_at}"


def test_where_a_stage_fails_the_later_ones_are_not_begun(tmp_path: Path) -> None:
    asked, stack = config(tmp_path, "sequential"), scripted()
    stack.broken = StackError("no memory")
    results = asyncio.run(run_harness(asked, open_stack=on(stack)))
    assert results.failures == {
        "calm": "no memory",
        "warm": "calm, which is trained before it, ended: no memory",
        "brief": "calm, which is trained before it, ended: no memory",
    }
    assert [len(history.steps) for history in results.preferences.values()] == [0, 0, 0]
    ran(asked, stack)


@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_mixed_deals_each_preference_as_often_as_the_others(steps: int, batch: int, seed: int) -> None:
    (track,) = tracks_of(
        EvalConfig(num_steps=steps, batch_size=batch, seed=seed, protocol=ProtocolConfig(kind="mixed")), SHIPPED
    )
    assert [len(items) for items in track.rounds] == [batch] * steps
    told = Counter(item.feedback for items in track.rounds for item in items)
    counts = [told[each.feedback_string] for each in SHIPPED]
    assert sum(counts) == steps * batch
    assert max(counts) - min(counts) <= 1
    for each in SHIPPED:
        own = [item.prompt for items in track.rounds for item in items if item.feedback == each.feedback_string]
        assert set(own) <= set(each.probe_prompts)
        assert max(Counter(own).values(), default=0) - (len(own) // len(each.probe_prompts)) <= 1


def test_mixed_measures_every_preference_by_its_own_verifier(tmp_path: Path) -> None:
    results = ran(config(tmp_path, "mixed"))
    (history,) = results.preferences.values()
    for record in history.steps:
        assert set(dict(record.eval["across"] or {})) == {"calm", "warm", "brief"}
        items = {each.item for each in record.rollouts if each.metric == "compliance"}
        assert {"heldout/warm/0", "probe/brief/2"} <= items
    told = [step.feedback_by_answer or [step.feedback_given] * 2 for step in history.steps]
    assert {text for texts in told for text in texts} <= {f"Please be {name}" for name in ("calm", "warm", "brief")}


def test_flip_asks_for_the_opposite_and_judges_the_same_answers_by_both(tmp_path: Path) -> None:
    protocol = ProtocolConfig(kind="flip", steps_before=1)
    results = ran(config(tmp_path, "flip", preferences=["calm"], num_steps=3, protocol=protocol))
    history = results.preferences["calm"]
    assert [step.feedback_given for step in history.steps] == ["Please be calm", *["No longer calm, please"] * 2]
    for record in history.steps:
        heldout = [each for each in record.rollouts if each.item.startswith("heldout/") and each.verdict]
        assert record.eval["opposite_compliance"] == sum(each.verdict["opposite"] for each in heldout) / len(heldout)
    criteria = results.summary.preferences["calm"].criteria
    assert set(criteria) == {"opposite_compliance"}


def test_only_adapters_of_their_own_may_grow(tmp_path: Path) -> None:
    ran(config(tmp_path, "sequential"))
    with pytest.raises(InvalidInput, match="holds a run of other rounds: calm 2, warm 2, brief 2 steps, now calm 3"):
        ran(config(tmp_path, "sequential", num_steps=3))
    stack = scripted()
    ran(config(tmp_path / "other", "isolated"), stack)
    assert ran(config(tmp_path / "other", "isolated", num_steps=3), stack).new_steps == 3


@pytest.mark.parametrize(
    ("kind", "preferences", "changes", "says"),
    [
        ("sequental", SHIPPED, {}, "did you mean sequential"),
        ("no.such_module", SHIPPED, {}, "cannot be imported"),
        ("...x", SHIPPED, {}, "cannot be imported"),
        (f"{__name__}.broken", SHIPPED, {}, "broke down: ZeroDivisionError: division by zero"),
        (f"{__name__}.prompts", SHIPPED, {}, "broke down: TypeError"),
        (f"{__name__}.nothing", SHIPPED, {}, "must return a list of claas.eval.protocols.tracks.Track, got None"),
        ("sequential", SHIPPED[:1], {}, "^protocol=sequential is about several preferences, got concise alone"),
        ("mixed", SHIPPED[:1], {}, "^protocol=mixed is about several preferences, got concise alone"),
        (
            "mixed",
            [dataclasses.replace(each, name=name) for each, name in zip(SHIPPED, ("a.b", "a_b"), strict=False)],
            {},
            "'a.b' and 'a_b' would have one number, across.a_b; rename",
        ),
        ("flip", SHIPPED, {"steps_before": 20}, "there is no step after the flip"),
        ("isolated", SHIPPED, {"stages": {"concis": 2}}, "the run has no such preference"),
        ("mixed", SHIPPED, {"stages": {"concise": 2}}, "protocol.stages is no setting of protocol=mixed"),
        ("sequential", SHIPPED, {"steps_before": 2}, "protocol.steps_before is no setting of protocol=sequential"),
    ],
)
def test_what_cannot_be_had_is_said(kind: str, preferences: list[Preference], changes: dict, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        tracks_of(EvalConfig(protocol=ProtocolConfig(kind=kind, **changes)), preferences)


def test_a_preference_without_an_opposite_cannot_be_flipped(tmp_path: Path) -> None:
    mine = small_preferences(tmp_path, "calm")
    with pytest.raises(InvalidInput, match="'calm' has no opposite; give its YAML file"):
        tracks_of(EvalConfig(protocol=ProtocolConfig(kind="flip")), [load_preference("calm", mine)])


def alternating(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """A protocol of somebody's own: the first preference in even rounds, the second one in odd ones."""
    one, other = (rounds_of(each, config.num_steps, config) for each in preferences)
    rounds = tuple(other[step] if step % 2 else one[step] for step in range(config.num_steps))
    return [Track("alternating", "alternating", preferences[0], rounds)]


def broken(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    raise ZeroDivisionError("division by zero")


def nothing(config: EvalConfig, preferences: Sequence[Preference]) -> None:
    pass


def test_a_protocol_of_ones_own_is_a_function(tmp_path: Path) -> None:
    kind = f"{__name__}.alternating"
    results = ran(config(tmp_path, kind, preferences=["calm", "warm"]))
    (history,) = results.preferences.values()
    assert [step.feedback_given for step in history.steps] == ["Please be calm", "Please be warm"]


def test_every_shipped_protocol_has_its_file() -> None:
    folder = Path(__file__).parents[2] / "configs" / "protocol"
    assert {path.stem for path in folder.glob("*.yaml")} == set(PROTOCOLS)
    for path in folder.glob("*.yaml"):
        assert ProtocolConfig(**yaml.safe_load(path.read_text())) == ProtocolConfig(kind=path.stem)


def test_what_a_mind_is_changed_from_is_measured(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"num_steps": 8, "measure_every": 3, "checkpoints": []}
    history = ran(config(tmp_path, "flip", preferences=["calm"], **changes)).preferences["calm"]
    assert sorted(history.curve("heldout_compliance")) == [0, 3, 4, 6, 8]


def test_tracks_of_one_adapter_are_shown_together_wherever_they_stand(tmp_path: Path) -> None:
    transfer = ran(config(tmp_path, f"{__name__}.alone_then_in_turn")).summary.transfer
    assert transfer is not None
    assert transfer.preferences == ["warm", "brief"]
    assert transfer.ruling.note == "a cell that it needs is not measured"


def alone_then_in_turn(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """The first preference on an adapter of its own, the others on one that they share."""
    return [
        Track(each.name, each.name if each is preferences[0] else "shared", each, rounds_of(each, 1, config))
        for each in preferences
    ]


def test_less_can_be_measured_and_the_ends_always_are(tmp_path: Path) -> None:
    asked = config(
        tmp_path,
        "isolated",
        preferences=["calm"],
        num_steps=6,
        measure_every=3,
        checkpoints=[1],
        limit={"heldout": 1},
    )
    history = ran(asked).preferences["calm"]
    assert history.baseline is not None
    assert [bool(step.eval) for step in history.steps] == [False, True, True, False, False, True]
    heldout = [each for each in history.baseline.rollouts if each.item.startswith("heldout/")]
    assert {each.item for each in heldout} == {"heldout/0"}
    assert {each.metric for each in heldout} == {"compliance", "in_context"}


@given(st.integers(1, 70), st.integers(1, 64), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_a_limit_draws_items_in_their_order_by_seed(heldout: int, seed: int, preference: int) -> None:
    whole = SHIPPED[preference % 3]
    drawn = limited(whole, {"heldout": heldout}, seed)
    places = [whole.heldout_prompts.index(prompt) for prompt in drawn.heldout_prompts]
    assert len(places) == min(heldout, len(whole.heldout_prompts))
    assert places == sorted(set(places))
    assert drawn == limited(whole, {"heldout": heldout}, seed)
    assert (drawn.probe_prompts, drawn.logprob_pairs) == (whole.probe_prompts, whole.logprob_pairs)


def test_how_fast_a_mind_is_changed_counts_from_the_flip(tmp_path: Path) -> None:
    stack = FakeStack(
        say=lambda adapter, prompt, seed: f"{prompt} {seed} {'🙂' * (adapter.version not in range(1, 5))}"
    )
    results = ran(config(tmp_path, "flip", preferences=["calm"], num_steps=8, plots=True), stack)
    history, found = results.preferences["calm"], results.summary.preferences["calm"]
    assert history.curve("opposite_compliance") == {updates: float(updates not in range(1, 5)) for updates in range(9)}
    learned, fast, *_ = answers(found, history, results.config.criteria)
    assert (learned.answer, fast.answer) == ("Cannot tell", "0.50 updates"), "two prompts are too few to tell"
    assert found.efficiency is not None
    assert in_user_units(found.efficiency) == (
        "compliance stays at 0.8 or above after 2 interactions (1 updates); "
        "half of it is gone 1 interaction (0.5 updates) after the flip"
    )
    assert (results.run_dir / "plots" / "flip.png").is_file()
    assert 'class="flip"' in (results.run_dir / "report.html").read_text()


def test_a_user_who_is_content_says_nothing_and_then_no_version_is_made(tmp_path: Path) -> None:
    """Answers of the first versions have an emoji, with which the verifier is not content, later ones have none."""
    stack = FakeStack(
        say=lambda adapter, prompt, seed: (
            f"It is {prompt} {seed}" + (" 🙂" if adapter.version < 2 and seed % 2 else "")
        ),
        shift=0.1,
    )
    asked = config(tmp_path, "isolated", preferences=["calm"], num_steps=6, batch_size=3, user="when_violated")
    history = ran(asked, stack).preferences["calm"]
    for record in history.steps:
        sampled = [each for each in record.rollouts if each.metric == "sample"]
        assert [each.response for each in sampled if "🙂" in (each.response or "")] == record.responses
        assert (record.feedback_given is None) == (not record.responses)
    versions = [0, *(record.adapter.version for record in history.steps)]
    made = [after - before for before, after in itertools.pairwise(versions)]
    assert made == [int(bool(record.responses)) for record in history.steps]
    assert made[-1] == 0
    assert sum(made) == versions[-1] > 0


@pytest.mark.parametrize("halt_at", [9, 14, 22])
def test_a_silent_round_is_resumed_too(tmp_path: Path, halt_at: int) -> None:
    content: dict[str, Any] = {"preferences": ["calm"], "num_steps": 3, "user": "when_violated"}
    ran(config(tmp_path / "whole", "isolated", **content))
    asked, stack = config(tmp_path / "killed", "isolated", **content), scripted()
    dying = Halting(stack, halt_at=halt_at)
    assert asyncio.run(until_halted(dying, run_harness(asked, open_stack=on(dying))))
    ran(asked, stack)
    assert on_record(tmp_path / "killed" / "run") == on_record(tmp_path / "whole" / "run")
