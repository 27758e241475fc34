from dataclasses import replace
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.eval.metrics.collapse import Collapse
from claas.results.records import AdapterVersion, Counts
from tests.eval.metrics.subjects import PREFERENCE, baseline_of, measure, measured_again, subject
from tests.fakes.stack import FakeStack

TWO_PROMPTS = replace(PREFERENCE, heldout_prompts=())
ONE_PROMPT = replace(TWO_PROMPTS, probe_prompts=("Why?",))


def in_turn(*texts: str, **changed: object) -> FakeStack:
    """A stack whose answers are these, one after the other."""
    left = list(texts)

    def say(adapter: AdapterVersion, prompt: str, seed: int) -> str:
        return left.pop(0)

    return replace(FakeStack(say=say), **changed)


def values_of(found: object) -> dict[str, float | None]:
    assert isinstance(found, dict)
    return found


def test_values_at_baseline_are_the_hand_computed_ones() -> None:
    # LCS of "a b c d" and "a b x y" is 2 of 4 and 4: F1 0.5; "a b c d" and "a b c d" 1; again 0.5: mean 2/3.
    stack = in_turn("a b c d", "a b x y", "a b c d", entropy=1.5)
    found = measure(Collapse(), subject(stack, ONE_PROMPT))
    assert found.values == {
        "collapse": {
            "mean_entropy": pytest.approx(1.5),
            "entropy_is_lower_bound": 0.0,
            "self_rouge_l": pytest.approx(2 / 3),
            "mean_logprob": pytest.approx(-1.0),
            "entropy_ratio_to_baseline": pytest.approx(1.0),
            "mean_logprob_drift": 0.0,
            "alert": 0.0,
        }
    }
    assert found.counts == {"collapse": Counts(planned=4, scored=4, errored=0)}
    assert [rollout.item for rollout in found.rollouts] == ["sample/0/0", "sample/0/1", "sample/0/2", "frozen/0"]
    assert [asked.temperature for asked in stack.asked] == [0.7] * 3 + [None]
    assert found.rollouts[0].logprobs == [-1.0] * 4
    assert (found.rollouts[3].response, found.rollouts[3].logprobs) == ("a b c d", [-1.0] * 5)


def test_held_out_prompts_follow_the_probe_prompts_up_to_as_many_as_are_asked() -> None:
    found = measure(Collapse(samples=2, max_prompts=3), subject(FakeStack(say=lambda *_: "so")))
    asked = [rollout.prompt for rollout in found.rollouts if rollout.item.startswith("sample/")]
    assert asked == [prompt for prompt in (*PREFERENCE.probe_prompts, "Why is there wind?") for _ in range(2)]


def test_every_sample_of_every_prompt_and_step_has_a_seed_of_its_own() -> None:
    before, after = FakeStack(say=lambda *_: "so"), FakeStack(say=lambda *_: "so")
    measured_again(Collapse(), before, after, TWO_PROMPTS)
    seeds = [asked.seed for asked in [*before.asked, *after.asked] if asked.kind == "answer"]
    assert len(seeds) == 2 * 2 * 3
    assert len(set(seeds)) == len(seeds)


def test_entropy_without_the_full_distribution_is_a_lower_bound() -> None:
    stack = in_turn("a b", "c d", "e f", entropy=None, top=(log(0.5), log(0.25)))
    values = values_of(measure(Collapse(), subject(stack, ONE_PROMPT)).values["collapse"])
    assert values["mean_entropy"] == pytest.approx(0.5 * log(2) + 0.25 * log(4))
    assert values["entropy_is_lower_bound"] == 1.0
    assert values["tail_mass"] == pytest.approx(0.25)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=30), st.integers(1, 20))
def test_the_bound_misses_what_the_tail_holds_and_no_more(weights: list[float], most: int) -> None:
    p = sorted((weight / sum(weights) for weight in weights), reverse=True)
    stack = in_turn("a b", "c d", "e f", entropy=None, top=tuple(map(log, p[:most])))
    values = values_of(measure(Collapse(), subject(stack, ONE_PROMPT)).values["collapse"])
    bound, tail = values["mean_entropy"], values["tail_mass"]
    full, unseen = -sum(map(_plogp, p)), max(1, len(p) - most)
    assert bound is not None
    assert tail == pytest.approx(sum(p[most:]), abs=1e-9)
    assert bound <= full + 1e-9
    assert full <= bound - _plogp(tail) + tail * log(unseen) + 1e-9, "the tail is most open when it is uniform"


def _plogp(p: float | None) -> float:
    return p * log(p) if p else 0.0


def test_likely_tokens_are_asked_for_only_where_entropy_needs_them() -> None:
    for entropy, asked_for in ((1.5, 0), (None, 20)):  # the first answer tells
        before, after = in_turn("a", "b", "c", entropy=entropy), in_turn("a", "b", "c", entropy=entropy)
        found = measured_again(Collapse(), before, after, ONE_PROMPT)
        assert [asked.top_logprobs for asked in before.asked if asked.kind == "answer"] == [20, asked_for, asked_for]
        assert {asked.top_logprobs for asked in after.asked if asked.kind == "answer"} == {asked_for}
        assert values_of(found.values["collapse"])["entropy_ratio_to_baseline"] == pytest.approx(1.0)


def test_estimators_of_entropy_are_never_mixed() -> None:
    full, bound = in_turn("a", "b", "c"), in_turn("a", "b", "c", entropy=None)
    values = values_of(measured_again(Collapse(), full, bound, ONE_PROMPT).values["collapse"])
    assert values["mean_entropy"] is None
    assert values["entropy_ratio_to_baseline"] is None
    assert values["alert"] is None


@pytest.mark.parametrize(
    ("changed", "key", "value", "alert"),
    [
        ({"entropy": 0.89}, "entropy_ratio_to_baseline", 0.89 / 1.5, 1.0),
        ({"entropy": 0.91}, "entropy_ratio_to_baseline", 0.91 / 1.5, 0.0),
        ({"shift": -2.1}, "mean_logprob_drift", 2.1, 1.0),
        ({"shift": 0.9}, "mean_logprob_drift", 0.9, 0.0),
    ],
)
def test_an_alert_tells_what_is_beyond_its_bound(
    changed: dict[str, object], key: str, value: float, alert: float
) -> None:
    before, after = in_turn("a b", "c d", "e f"), in_turn("a b", "c d", "e f", **changed)
    values = values_of(measured_again(Collapse(), before, after, ONE_PROMPT).values["collapse"])
    assert values[key] == pytest.approx(value)
    assert values["alert"] == alert


def test_the_same_words_every_time_raise_an_alert() -> None:
    values = values_of(
        measured_again(Collapse(), in_turn("a", "b", "c"), in_turn("so", "so", "so"), ONE_PROMPT).values["collapse"]
    )
    assert values["self_rouge_l"] == 1.0
    assert values["alert"] == 1.0


def test_silence_is_collapse_and_never_a_made_up_number() -> None:
    found = measured_again(Collapse(), in_turn("a", "b", "c"), in_turn("", "", ""), ONE_PROMPT)
    assert found.values["collapse"] == {
        "mean_entropy": None,
        "entropy_is_lower_bound": 0.0,
        "self_rouge_l": 1.0,
        "mean_logprob": -1.0,
        "entropy_ratio_to_baseline": None,
        "mean_logprob_drift": 0.0,
        "alert": 1.0,
    }
    assert found.counts["collapse"].scored == 4


def test_the_logprob_is_that_of_what_was_said_at_baseline() -> None:
    # The new answers are certain; the old one, "a b", has become 4 nats per token less likely than its -0.5.
    before = in_turn("a b", "c d", "e f", scores={"a b": (-0.5, -0.5, -0.5)})
    after = in_turn("so", "so", "so", scores={"a b": (-4.5, -5.5, -3.5), "so": (0.0, 0.0)})
    values = values_of(measured_again(Collapse(), before, after, ONE_PROMPT).values["collapse"])
    assert values["mean_logprob"] == pytest.approx(-4.5)
    assert values["mean_logprob_drift"] == pytest.approx(4.0)
    assert [asked.text for asked in after.asked if asked.kind == "score"] == ["a b"]


def test_drift_is_over_what_was_scored_both_times() -> None:
    before = FakeStack(answers={"Why does it rain?": "it rains", "Why does it snow?": "snow"})
    scores = {"it rains": (-3.0, -3.0, -3.0), "snow": (-1.0, -1.0)}
    after = FakeStack(scores=scores, lost={"snow"})
    values = values_of(measured_again(Collapse(), before, after, TWO_PROMPTS).values["collapse"])
    assert values["mean_logprob_drift"] == pytest.approx(2.0)


def test_a_baseline_that_says_nothing_leaves_nothing_to_score() -> None:
    found = measure(Collapse(), subject(in_turn("", "", ""), ONE_PROMPT))
    assert found.counts["collapse"] == Counts(planned=3, scored=3, errored=0)
    assert values_of(found.values["collapse"])["mean_logprob"] is None


def test_lost_answers_are_counted_and_never_averaged() -> None:
    stack = FakeStack(answers={"Why does it snow?": "a b"}, lost={"Why does it rain?"}, cut_off={"Why does it snow?"})
    found = measure(Collapse(), subject(stack, TWO_PROMPTS))
    assert found.counts["collapse"] == Counts(planned=7, scored=4, errored=3, truncated=4)
    assert values_of(found.values["collapse"])["self_rouge_l"] == 1.0


def test_when_everything_is_lost_nothing_is_known() -> None:
    found = measure(Collapse(), subject(FakeStack(lost=set(PREFERENCE.probe_prompts)), TWO_PROMPTS))
    assert set(values_of(found.values["collapse"]).values()) == {None}


def test_without_a_measured_baseline_there_is_nothing_to_compare_with() -> None:
    at = subject(FakeStack(), ONE_PROMPT)
    empty = baseline_of(measure(Collapse(), at), at).model_copy(update={"eval": {}, "rollouts": []})
    values = values_of(measure(Collapse(), subject(in_turn("a", "b", "c"), ONE_PROMPT, empty)).values["collapse"])
    assert values["mean_entropy"] == pytest.approx(1.5)
    assert values["entropy_ratio_to_baseline"] is None
    assert values["mean_logprob_drift"] is None


def test_it_is_due_at_baseline_and_at_the_checkpoints() -> None:
    assert [Collapse().due(step, frozenset({3})) for step in (None, 0, 3)] == [True, False, True]
