"""A run against its control arms: by hand, and the interval that does not shrink where nothing differs."""

import io
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from claas.eval.reporters.verdict_table import verdict_report
from claas.results.effects import ArmEffect, Contrast, criteria_in, effects_of
from claas.results.keys import keys_of_schema_1
from claas.results.manifest import PlannedTrack
from claas.results.records import AdapterVersion, Baseline, Counts, History, StepRecord, Transcript
from claas.results.settings import EvalConfig
from claas.results.statistics import paired_difference_interval, paired_difference_z
from claas.results.summary import build_summary

Z = 1.959963984540054


def answers(scores: list[float], metric: str = "compliance") -> list[Transcript]:
    return [
        Transcript(metric=metric, item=f"heldout/{i}", prompt="p", response="r", verdict={"score": s, "passed": s == 1})
        for i, s in enumerate(scores)
    ]


def history(name: str, before: list[float], after: list[float], prompted: list[float] | None = None) -> History:
    common = {
        "preference": "a", "timestamp": "t", "timing_s": {}, "tokens": {},
        "counts": {"sample": Counts(planned=1, scored=1, errored=0)},
    }  # fmt: skip
    baseline = Baseline(
        adapter=AdapterVersion(lora_id=name, version=0, digest="0"),
        eval={"heldout_compliance": 0.0},
        rollouts=answers(before) + answers(prompted or [], "in_context"),
        **common,
    )
    step = StepRecord(
        step=0, feedback_given="f", prompts=[], responses=[], rollout_ids=[], sdpo_metrics={},
        adapter=AdapterVersion(lora_id=name, version=1, digest="1"), eval={"heldout_compliance": 1.0},
        rollouts=answers(after), **common,
    )  # fmt: skip
    return History(name, 1, baseline, (step,), keys=keys_of_schema_1())


def planned(name: str, arm: str = "feedback", control_of: str | None = None) -> PlannedTrack:
    return PlannedTrack(name=name, adapter=name, preference="a", num_steps=1, arm=arm, control_of=control_of)


def test_the_difference_to_a_control_of_equal_baseline_is_paired() -> None:
    run = history("a", [0, 0, 0, 0], [1, 1, 1, 0], prompted=[1, 1, 1, 1])
    control = history("a.neutral", [0, 0, 0, 0], [0, 0, 1, 0])
    tracks = [planned("a"), planned("a.neutral", "neutral", "a")]
    found = effects_of({"a": run, "a.neutral": control}, tracks, 0.95)["a"]
    neutral = found["neutral"]
    assert (neutral.compliance.value, neutral.compliance.n, neutral.control_gain) == (0.5, 4, 0.25)
    low, high = paired_difference_interval(2, 0, 4).low, paired_difference_interval(2, 0, 4).high
    assert neutral.compliance.ci == (low, high)
    assert found["in_context"].compliance.value == -0.25
    assert found["in_context"].control_gain == 1.0
    assert found["in_context"].retained == {}
    assert neutral.compliance.p_holm == pytest.approx(min(1.0, 2 * (neutral.compliance.p or 1.0)))


def test_unlike_baselines_are_taken_off_each_side() -> None:
    """(1 - 0) - (1 - 1), (1 - 0) - (0 - 0), (0 - 0) - (0 - 0), (1 - 1) - (1 - 0): 1, 1, 0, -1."""
    run = history("a", [0, 0, 0, 1], [1, 1, 0, 1])
    control = history("a.neutral", [1, 0, 0, 0], [1, 0, 0, 1])
    tracks = [planned("a"), planned("a.neutral", "neutral", "a")]
    contrast = effects_of({"a": run, "a.neutral": control}, tracks, 0.95)["a"]["neutral"].compliance
    assert (contrast.value, contrast.n) == (0.25, 4)


def test_no_interval_is_wider_than_a_difference_can_be() -> None:
    run = history("a", [0, 0, 0, 0], [1, 1, 1, 0.5], prompted=[0, 0, 0.25, 1])
    control = history("a.neutral", [0, 0, 0, 0], [0, 0, 0, 0])
    tracks = [planned("a"), planned("a.neutral", "neutral", "a")]
    for effect in effects_of({"a": run, "a.neutral": control}, tracks, 0.95)["a"].values():
        assert effect.compliance.ci is not None
        low, high = effect.compliance.ci
        assert -1 <= low <= (effect.compliance.value or 0) <= high <= 1


def test_nothing_is_said_before_both_have_ended() -> None:
    run = history("a", [0, 0], [1, 1])
    unfinished = history("a.neutral", [0, 0], [0, 0])
    unfinished = History("a.neutral", 2, unfinished.baseline, unfinished.steps, keys=unfinished.keys)
    tracks = [planned("a"), planned("a.neutral", "neutral", "a")]
    assert effects_of({"a": run, "a.neutral": unfinished}, tracks, 0.95) == {}
    assert effects_of({"a": run}, tracks, 0.95) == {}


@pytest.mark.parametrize("n", [16, 64])
def test_where_no_pair_differs_the_interval_has_a_width(n: int) -> None:
    interval = paired_difference_interval(0, 0, n)
    assert interval.high == pytest.approx(Z**2 / (n + Z**2), abs=1e-6)
    assert interval.low == pytest.approx(-(Z**2) / (n + Z**2), abs=1e-6)


def test_the_interval_is_the_published_one() -> None:
    """Fagerland, Lydersen & Laake 2014 give Tango's for 21 children, of whom 1 and 7 changed: -0.517 to -0.026."""
    interval = paired_difference_interval(gained=1, lost=7, n=21)
    assert (interval.low, interval.high) == (pytest.approx(-0.517, abs=5e-4), pytest.approx(-0.026, abs=5e-4))


@pytest.mark.parametrize(("gained", "lost", "n"), [(1, 0, 44), (7, 2, 16), (0, 64, 128)])
def test_at_its_ends_the_score_test_is_at_its_level(gained: int, lost: int, n: int) -> None:
    interval = paired_difference_interval(gained, lost, n)
    assert paired_difference_z(gained, lost, n, interval.low) == pytest.approx(Z, abs=1e-6)
    assert paired_difference_z(gained, lost, n, interval.high) == pytest.approx(-Z, abs=1e-6)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40))
@settings(max_examples=120, deadline=None)
def test_the_interval_holds_the_estimate_and_mirrors(gained: int, lost: int, same: int) -> None:
    n = gained + lost + same
    if n == 0:
        return
    one, other = paired_difference_interval(gained, lost, n), paired_difference_interval(lost, gained, n)
    assert -1 <= one.low <= (gained - lost) / n + 1e-9
    assert (gained - lost) / n - 1e-9 <= one.high <= 1
    assert math.isclose(one.low, -other.high, abs_tol=1e-6)


def test_a_contrast_of_what_was_one_criterion_is_read_and_each_of_two_has_its_own() -> None:
    kept = Contrast(value=-0.1, ci=None, p=None, n=4, formula="f")
    compliance = {"value": None, "ci": None, "p": None, "n": 0, "formula": "f"}
    earlier = {"control_gain": 0.0, "compliance": compliance, "capability": kept.model_dump()}
    read = ArmEffect.model_validate(earlier)
    assert read.retained == {"capability_retention": kept}
    assert ArmEffect.model_validate(earlier | {"capability": None}).retained == {}
    assert ArmEffect.model_validate_json(read.model_dump_json()) == read
    now = read.model_copy(update={"retained": {"knowledge_retention": kept, "form_retention": kept}})
    arms = {"a": {"neutral": now, "in_context": read.model_copy(update={"retained": {}})}}
    assert criteria_in(arms) == ["knowledge_retention", "form_retention"]
    assert now.contrasts(["form_retention", "other"]) == [now.compliance, kept, None]


def test_the_terminal_has_a_line_for_compliance_and_one_for_each_of_what_is_kept() -> None:
    def contrast(value: float, low: float, high: float) -> Contrast:
        return Contrast(value=value, ci=(low, high), p=None, n=4, formula="f")

    kept = {"knowledge_retention": contrast(-0.01, -0.02, 0.0), "form_retention": contrast(0.25, 0.1, 0.4)}
    neutral = ArmEffect(control_gain=0.125, compliance=contrast(0.5, 0.25, 0.75), retained=kept)
    page = Console(file=io.StringIO(), width=100)
    summary = build_summary("r", EvalConfig(preferences=["a"], controls=[]), {"a": history("a", [0], [1])})
    page.print(verdict_report(summary.model_copy(update={"arms": {"a": {"neutral": neutral}}}), Path("run")))
    assert isinstance(page.file, io.StringIO)
    shown = [" ".join(line.split()) for line in page.file.getvalue().splitlines()]
    first = shown.index("a, neutral compliance +0.50 +0.25 to +0.75 +0.12")
    assert shown[first + 1 : first + 3] == ["knowledge −0.01 −0.02 to 0.00", "form +0.25 +0.10 to +0.40"]
