"""Differences between runs: hand-computed, lawful, and silent where there is nothing."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.results.comparison import (
    Difference,
    Direction,
    Final,
    Finals,
    compare,
    finals_of,
    item_differences,
    spread_over_seeds,
    value,
)
from claas.results.keys import keys_of_schema_1
from claas.results.means import mean_interval, mean_p_at_most
from claas.results.records import Transcript
from tests.results.chance_runs import KEYS, Effect, chance_history
from tests.results.synthetic_runs import Collapsing, Unchanged, World, make_history

KEY, MARGIN = "heldout_compliance", "logprob_margin.margin"
MEANS = {key.key: (key, key.items) for key in keys_of_schema_1() if key.items is not None}
"""The shipped keys that are means over items, with these."""


def answered(scores: Mapping[str, float | None], prompt: str = "p", says: str = "r") -> list[Transcript]:
    """Held-out answers by number; None is a lost one."""
    return [
        Transcript(
            metric="compliance",
            item=f"heldout/{item}",
            prompt=f"{prompt} {item}",
            response=None if score is None else says,
            verdict=None if score is None else {"score": score, "passed": score == 1},
        )
        for item, score in scores.items()
    ]


def numbered(scores: Sequence[float | None]) -> dict[str, float | None]:
    return {str(place): score for place, score in enumerate(scores)}


def finals(label: str, rollouts: Sequence[Transcript], key: str = KEY, updates: int = 3) -> Finals:
    return Finals(label, {key: Final(*MEANS[key], updates, rollouts)})


def difference(
    reference: Sequence[Transcript], other: Sequence[Transcript], key: str = KEY, confidence: float = 0.95
) -> Difference:
    (found,) = compare({"concise": [finals("a", reference, key), finals("b", other, key)]}, confidence)
    return found


def scored(margins: Sequence[float], text: str = "yes") -> list[Transcript]:
    return [
        Transcript(metric="logprob_margin", item=f"pair/{place}/{side}", prompt="p", response=said, logprobs=[total])
        for place, margin in enumerate(margins)
        for side, said, total in (("positive", text, margin - 50), ("negative", "no", -50.0))
    ]


def test_a_difference_is_the_mean_over_items_with_its_interval() -> None:
    """By hand: differences 1, 0, 1, 1 have mean 0.75."""
    found = difference(answered(numbered([0, 0, 0, 0])), answered(numbered([1, 0, 1, 1])), confidence=0.6)
    assert (found.reference, found.other, found.updates, found.n) == ("a", "b", (3, 3), 4)
    assert found.value == 0.75
    interval = mean_interval([1, 0, 1, 1], 0.6)
    assert found.interval is not None
    assert interval is not None
    assert found.interval.low == interval.low
    assert found.interval.high == 1.0, "scores are from 0 to 1, so that means differ by at most 1"
    least = mean_p_at_most([1, 0, 1, 1], 0.0)
    assert least is not None
    assert found.p == pytest.approx(2 * least)
    assert found.direction is Direction.HIGHER


def test_only_items_with_the_same_prompt_are_paired_and_the_rest_is_counted() -> None:
    reference = answered({"0": 1, "1": 1, "2": None, "3": 0, "4": 1, "5": 1}) + answered({"6": 1, "7": 1}, "old")
    other = answered({"0": 0, "1": 1, "2": 1, "3": 0, "9": 0}) + answered({"6": 0, "7": 1}, "new")
    found = difference(reference, other)
    assert (found.n, found.alone, found.unlike, found.lost) == (3, 3, 2, 1)
    assert found.value == pytest.approx(-1 / 3)


def test_scored_answers_are_paired_only_when_their_texts_are_the_same() -> None:
    found = difference(scored([1.0, 2.0, 3.0]), scored([2.0, 2.5, 3.5], "yes!"), MARGIN)
    assert (found.value, found.n, found.unlike, found.direction) == (None, 0, 3, Direction.UNCLEAR)
    assert difference(scored([1.0, 2.0, 3.0]), scored([2.0, 2.5, 3.5]), MARGIN).value == pytest.approx(2 / 3)


def test_a_bound_of_the_entropy_is_not_compared_with_the_entropy() -> None:
    def sampled(bound: bool) -> list[Transcript]:
        common = {"metric": "collapse", "prompt": "p", "response": "r", "entropy_is_lower_bound": bound}
        return [Transcript(item=f"sample/{i}/{k}", mean_entropy=i + 1.0, **common) for i in range(3) for k in range(2)]

    assert difference(sampled(True), sampled(True), "collapse.mean_entropy").n == 3
    assert difference(sampled(True), sampled(False), "collapse.mean_entropy").unlike == 3
    assert difference(sampled(True), sampled(False), "collapse.self_rouge_l").n == 3


def test_an_item_may_have_more_samples_in_one_run_than_in_the_other() -> None:
    def sampled(*entropies: float) -> list[Transcript]:
        common = {"metric": "collapse", "prompt": "p", "response": "r"}
        return [Transcript(item=f"sample/0/{k}", mean_entropy=value, **common) for k, value in enumerate(entropies)]

    found = difference(sampled(1.0, 2.0), sampled(3.0, 4.0, 5.0), "collapse.mean_entropy")
    assert (found.value, found.n) == (2.5, 1)


def test_what_one_run_never_measured_is_not_compared() -> None:
    assert compare({"concise": [finals("a", scored([1.0]), MARGIN), finals("b", answered({"0": 1}))]}, 0.95) == []
    assert compare({"concise": [finals("a", scored([1.0]), MARGIN)]}, 0.95) == []


def test_the_reference_is_the_first_run_that_measured_the_key() -> None:
    runs = [finals("a", scored([1.0, 2.0]), MARGIN), finals("b", answered({"0": 1})), finals("c", answered({"0": 0}))]
    assert [(each.key, each.reference, each.other) for each in compare({"concise": runs}, 0.95)] == [(KEY, "b", "c")]


def test_updates_of_both_are_told() -> None:
    runs = [finals("a", answered({"0": 1, "1": 0}), updates=4), finals("b", answered({"0": 1, "1": 1}), updates=20)]
    assert compare({"concise": runs}, 0.95)[0].updates == (4, 20)


def test_many_comparisons_make_each_stricter() -> None:
    """p = 0.0156 (seven equal differences: 2 x 2^-7) concludes alone, and not as one of four."""
    low, high = [finals("a", answered(numbered([0] * 7)))], [finals("b", answered(numbered([1] * 7)))]
    alone = compare({"one": low + high}, 0.95)
    assert (alone[0].p, alone[0].direction) == (2 * 0.5**7, Direction.HIGHER)
    many = compare(dict.fromkeys(("one", "two", "three", "four"), low + high), 0.95)
    assert [(each.preference, each.p_holm, each.family, each.direction) for each in many] == [
        (name, 4 * 2 * 0.5**7, 4, Direction.UNCLEAR) for name in ("one", "two", "three", "four")
    ]


def test_a_run_that_learned_differs_from_one_that_did_not_in_what_it_learned() -> None:
    learned, idle = finals_of(make_history(World()), "learned"), finals_of(make_history(Unchanged()), "idle")
    found = {each.key: each.direction for each in compare({"concise": [idle, learned]}, 0.95)}
    assert found[KEY] is Direction.HIGHER
    assert found[MARGIN] is Direction.HIGHER
    assert found["general.capability_pass_rate"] is Direction.EQUAL


def test_finals_are_of_the_step_at_which_each_key_was_last_due() -> None:
    found = finals_of(make_history(steps=6, done=5), "a").keys
    assert {key: final.updates for key, final in found.items()} == {
        key: 4 if key.startswith("collapse.") else 5 for key in MEANS if key != "over_application_rate"
    }
    assert finals_of(make_history(done=0), "a").keys == {}


def test_a_runs_own_value_has_wilsons_interval_that_leaves_lost_ones_any_score() -> None:
    found = value(Final(*MEANS[KEY], 1, answered(numbered([1, 1, 0, None]))), 0.95)
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)
    assert found.note == "1 of 4 lost; the interval leaves them any score"
    assert found.interval is not None
    assert found.interval.low == pytest.approx(0.15, abs=0.005)
    assert found.interval.high == pytest.approx(0.954, abs=0.005)


def test_what_passes_in_one_run_only_is_listed_with_both_answers() -> None:
    ours = finals("a", answered({"0": 1, "1": 0, "2": 1}, says="ours"))
    theirs = finals("b", answered({"0": 0, "1": 1, "2": 1}, says="theirs"))
    (found,) = item_differences({"concise": [ours, theirs]})
    changes = found.changes
    assert (found.items.flips, found.reference, found.other) == ("heldout", ours, theirs)
    assert (changes.lost, changes.gained, changes.n) == (["heldout/0"], ["heldout/1"], 3)
    answers = changes.answers["heldout/0"]
    assert (answers.prompt, answers.before, answers.after) == ("p 0", "ours", "theirs")
    (found,) = item_differences({"concise": [ours, finals("b", answered({"0": 0}, "another prompt"))]})
    assert found.changes.n == 0


def test_p_values_of_disagreements_are_adjusted_over_all_of_them() -> None:
    """Six of six pass in one run only: 2 x 2^-6, and twice that for two preferences."""
    runs = [finals("a", answered(numbered([0] * 6))), finals("b", answered(numbered([1] * 6)))]
    assert [each.changes.mcnemar_p_holm for each in item_differences({"one": runs})] == [2 * 0.5**6]
    assert [each.changes.mcnemar_p_holm for each in item_differences({"one": runs, "two": runs})] == [4 * 0.5**6] * 2


def test_the_spread_over_seeds_is_students() -> None:
    """By hand: 0.6, 0.8, 0.7 have mean 0.7, standard deviation 0.1, t(0.975, 2) = 4.303."""
    found = spread_over_seeds([0.6, 0.8, 0.7], 0.95)
    assert found is not None
    assert (found.mean, found.deviation, found.n) == (pytest.approx(0.7), pytest.approx(0.1), 3)
    assert (found.lowest, found.highest) == (0.6, 0.8)
    assert found.interval is not None
    assert found.interval.high == pytest.approx(0.7 + 4.303 * 0.1 / math.sqrt(3), abs=1e-4)
    assert spread_over_seeds([0.6], 0.95) is None


lawful = settings(deadline=None, max_examples=40)
some_score = st.sampled_from([0.0, 0.25, 0.5, 1.0, None])
score_lists = st.lists(st.tuples(some_score, some_score), max_size=9)
margin_lists = st.lists(st.tuples(st.floats(-40, 40), st.floats(-40, 40)), min_size=1, max_size=9)


@lawful
@given(score_lists)
def test_a_difference_is_bounded_finite_and_changes_sign_when_runs_are_swapped(
    scores: list[tuple[float | None, float | None]],
) -> None:
    one, other = (answered(numbered([pair[side] for pair in scores])) for side in (0, 1))
    there, back = difference(one, other), difference(other, one)
    require_lawful(there, back, least=-1, most=1)
    assert there.n + there.lost == len(scores)


@lawful
@given(margin_lists)
def test_so_do_differences_without_bounds(margins: list[tuple[float, float]]) -> None:
    one, other = (scored([pair[side] for pair in margins]) for side in (0, 1))
    require_lawful(difference(one, other, MARGIN), difference(other, one, MARGIN), -math.inf, math.inf)


def require_lawful(there: Difference, back: Difference, least: float, most: float) -> None:
    assert (there.value is None) == (back.value is None) == (there.n == 0)
    assert (there.interval is None) == (back.interval is None)
    if there.value is not None and back.value is not None:
        assert there.value == pytest.approx(-back.value, abs=1e-9)
        assert math.isfinite(there.value)
    if there.interval and back.interval:
        assert there.interval.low == pytest.approx(-back.interval.high, rel=1e-6, abs=1e-9)
        assert there.interval.high == pytest.approx(-back.interval.low, rel=1e-6, abs=1e-9)
        assert least <= there.interval.low <= there.interval.high <= most
        assert there.interval.low - 1e-9 <= there.value <= there.interval.high + 1e-9
    if there.p is not None:
        assert 0 <= there.p <= 1
        assert there.p == pytest.approx(back.p, rel=1e-6)
    swapped = {Direction.HIGHER: Direction.LOWER, Direction.LOWER: Direction.HIGHER}
    assert back.direction is swapped.get(there.direction, there.direction)


@pytest.mark.parametrize("world", [World(), Collapsing(), Unchanged()], ids=lambda world: type(world).__name__)
def test_a_run_does_not_differ_from_itself(world: World) -> None:
    history = make_history(world)
    found = compare({"concise": [finals_of(history, "a"), finals_of(history, "again")]}, 0.95)
    assert {each.key for each in found} == set(MEANS) - {"over_application_rate"}
    for each in found:
        assert (each.value, each.direction, each.p) == (0.0, Direction.EQUAL, 1.0)
        assert each.interval is None or each.interval.low <= 0 <= each.interval.high


def test_equal_worlds_are_said_to_differ_no_more_often_than_the_level() -> None:
    """A/A: both measurements are drawn around the same truth, and items differ in how hard they are."""
    runs, wrong, beyond, made = 200, 0, 0, 0
    for seed in range(runs):
        history, keys = chance_history(Effect(heldouts=46), seed), [key for key in MEANS if key in flat_keys()]
        first, second = (
            Finals(label, {key: Final(*MEANS[key], 1, history.rollouts(updates)) for key in keys})
            for label, updates in (("a", 0), ("b", 1))
        )
        found = compare({"concise": [first, second]}, 0.95)
        wrong += any(each.direction in (Direction.HIGHER, Direction.LOWER) for each in found)
        beyond += sum(each.p is not None and each.p <= 0.05 for each in found)
        made += len(found)
    assert made == 6 * runs
    assert wrong / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)
    assert 0 < beyond / made <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / made), "and the test is no dead one"


def flat_keys() -> set[str]:
    parts = {key: value if isinstance(value, dict) else {"": value} for key, value in KEYS.items()}
    return {f"{key}.{part}" if part else key for key, values in parts.items() for part in values}
