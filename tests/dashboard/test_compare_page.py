"""The page that compares runs: what it says, and that it says nothing it should not."""

import re
from dataclasses import replace
from html import unescape

import pytest

from claas.core.errors import InvalidInput
from claas.dashboard.charts import Charts
from claas.dashboard.compare_page import ComparedRun, compare_view, comparison
from claas.dashboard.differences import KeyTable
from claas.dashboard.pages import Addresses
from claas.results.records import History, Transcript
from tests.dashboard.compared_runs import metadata, run_of
from tests.results.synthetic_runs import Collapsing, Unchanged, World, make_history

HOSTILE = "<script>alert('x')</script>\" onload=\"y\u202e&lt; 🙂"

OTHERS_SCRIPT = r'<script(?! type="application/json"| defer src="/v1/eval/assets/[\w.-]+"></script>)'


def page(*runs: ComparedRun) -> str:
    return comparison(runs, Charts((), ()), Addresses(results_dir="mine"))


def text(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def table(key: str, *runs: ComparedRun) -> KeyTable:
    return next(each for each in compare_view(runs).preferences[0].keys if each.key == key)


def noisy(level: float) -> type[World]:
    return type("Noisy", (World,), {"heldout": staticmethod(lambda t: level)})


IDLE = run_of("idle", [make_history(Unchanged())])
LEARNED = run_of("learned")


def test_the_first_run_is_the_reference_and_the_others_are_read_against_it() -> None:
    found = table("heldout_compliance", IDLE, LEARNED)
    reference, other = found.rows
    assert (reference.letter, reference.value, reference.interval, reference.difference) == (
        "A",
        "0.047",
        "0.016 to 0.129",
        None,
    )
    assert other.difference is not None
    assert (other.value, other.difference.value, other.difference.n) == ("1.000", "+0.953", 64)
    assert (other.difference.reading, other.difference.telling, found.telling) == ("higher", True, True)
    assert other.difference.bar is not None
    assert 50 < other.difference.bar.low < other.difference.bar.value < other.difference.bar.high <= 98
    swapped = table("heldout_compliance", LEARNED, IDLE).rows[1].difference
    assert swapped is not None
    assert (swapped.value, swapped.reading) == ("−0.953", "lower")


def test_the_summary_names_what_differs_and_counts_the_rest() -> None:
    (short,) = compare_view([IDLE, LEARNED]).short
    assert (short.preference, short.other, short.reference) == ("concise", "B", "A")
    assert any(each.startswith("heldout_compliance is higher (+0.953, interval +") for each in short.findings)
    assert short.rest == "of 7 keys: 2 the same in every item"


def test_runs_of_unequal_length_say_after_how_many_updates_each_value_is() -> None:
    shorter = run_of("shorter", [make_history(steps=6, done=2)])
    rows = table("heldout_compliance", LEARNED, shorter).rows
    assert [row.updates for row in rows] == [6, 2]
    assert rows[1].difference is not None
    assert "B after 2 updates, A after 6" in rows[1].difference.remarks
    assert "2 of 6 steps, running" in text(page(LEARNED, shorter))


def test_items_without_a_partner_are_counted_on_the_page() -> None:
    def reworded(rollout: Transcript) -> Transcript:
        changed = rollout.item in ("heldout/0", "heldout/1")
        return rollout.model_copy(update={"prompt": "another"}) if changed else rollout

    history = make_history()
    last = history.steps[-1]
    step = last.model_copy(update={"rollouts": [reworded(rollout) for rollout in last.rollouts]})
    other = run_of("other", [replace(history, steps=(*history.steps[:-1], step))])
    difference = table("heldout_compliance", LEARNED, other).rows[1].difference
    assert difference is not None
    assert (difference.n, difference.remarks) == (62, ("left out: 2 asked, or scored, on another text",))


def test_three_seeds_show_their_spread_and_two_do_not() -> None:
    levels = {1: 0.5, 2: 0.75, 3: 1.0}
    runs = [run_of(f"s{seed}", [make_history(noisy(level)())], seed=seed) for seed, level in levels.items()]
    (spread,) = table("heldout_compliance", *runs).spreads
    assert (spread.letters, spread.updates) == (("A", "B", "C"), 6)
    assert (spread.mean, spread.deviation, spread.reach) == ("0.750", "0.250", "0.500 to 1.000")
    assert table("heldout_compliance", *runs[:2]).spreads == ()
    reworded = replace(runs[2], metadata={"concise": metadata(digest="another")})
    assert table("heldout_compliance", *runs[:2], reworded).spreads == (), "not the same measurement"
    assert "Over 3 seeds (A, B, C, after 6 updates): mean 0.750" in text(page(*runs))


def test_criteria_stand_side_by_side() -> None:
    criteria = compare_view([LEARNED, run_of("bad", [make_history(Collapsing())])]).preferences[0].criteria
    good, bad = criteria["capability_retention"]
    assert good is not None
    assert bad is not None
    assert (good.verdict, bad.verdict, bad.threshold) == ("pass", "fail", "> 0.9")


def test_items_that_only_one_run_passes_show_both_answers() -> None:
    lists = {each.title: each for each in compare_view([IDLE, LEARNED]).preferences[0].flips}
    heldout = lists["heldout"]
    assert "of 64 items 0 pass in A only and 61 in B only" in heldout.summary
    assert (len(heldout.items), heldout.more) == (20, 41)
    assert [(said.letter, said.passed) for said in heldout.items[0].said] == [("A", False), ("B", True)]
    assert lists["capability"].items == ()
    assert "41 more are not shown here" in text(page(IDLE, LEARNED))


def test_items_that_one_run_did_not_judge_are_counted() -> None:
    history = make_history()
    last = history.steps[-1]
    lost = [
        rollout.model_copy(update={"response": None, "verdict": None}) if rollout.item == "heldout/3" else rollout
        for rollout in last.rollouts
    ]
    other = run_of("other", [replace(history, steps=(*history.steps[:-1], last.model_copy(update={"rollouts": lost})))])
    (heldout,) = [each for each in compare_view([LEARNED, other]).preferences[0].flips if each.title == "heldout"]
    assert heldout.summary == "of 64 items none passes in one run only; 1 not judged in both"
    difference = table("heldout_compliance", LEARNED, other).rows[1].difference
    assert difference is not None
    assert difference.remarks == ("left out: 1 lost in one of the two",)


def test_links_are_made_by_the_caller() -> None:
    links = set(map(unescape, re.findall(r'href="(.*?)"', page(IDLE, LEARNED, run_of("third")))))
    assert {
        "/v1/eval/run?run=idle&results_dir=mine",
        "/v1/eval/compare?run=learned&run=idle&run=third&results_dir=mine",
        "/v1/eval/compare?run=idle&run=third&results_dir=mine",
        "/v1/eval/step?run=learned&preference=concise&updates=6&metric=compliance&results_dir=mine",
    } <= links


def test_a_pair_cannot_lose_a_run() -> None:
    assert "Leave it out" not in page(IDLE, LEARNED)


def test_another_measurement_is_said_loudly() -> None:
    other = replace(run_of("other"), metadata={"concise": metadata(digest="another")})
    assert "B against A: not the same measurement: the preference's feedback" in text(page(LEARNED, other))
    assert "the same measurement" not in page(LEARNED, run_of("other"))


def test_preferences_that_one_run_has_are_named_and_not_compared() -> None:
    both = run_of("both", [make_history(), make_history(preference="identity")])
    view = compare_view([LEARNED, both])
    assert ([each.name for each in view.preferences], view.alone) == (["concise"], (("identity", "B"),))


def test_a_run_that_has_measured_nothing_yet_is_shown_as_such() -> None:
    fresh = replace(run_of("fresh", [History("concise", 6)]), summary=None)
    shown = text(page(LEARNED, fresh))
    assert "nothing judged yet" in shown
    assert "No two runs have measured the same yet." in shown
    nothing_shared = text(page(LEARNED, run_of("other", [make_history(preference="identity")])))
    assert "These runs have measured no preference in common." in nothing_shared


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"]])
def test_fewer_than_two_different_runs_are_no_comparison(names: list[str]) -> None:
    with pytest.raises(InvalidInput, match="two or more different runs"):
        compare_view([replace(LEARNED, name=name) for name in names])


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    def hostile(passed: bool) -> History:
        rollout = Transcript(
            metric="compliance",
            item="heldout/0",
            prompt=HOSTILE,
            response=HOSTILE,
            verdict={"score": float(passed), "passed": passed},
        )
        history = make_history(preference=HOSTILE)
        last = history.steps[-1]
        return replace(history, steps=(*history.steps[:-1], last.model_copy(update={"rollouts": [rollout]})))

    runs = [run_of(f"{HOSTILE}{passed}", [hostile(passed)], base_model=HOSTILE) for passed in (True, False)]
    shown = page(*runs)
    assert not re.search(OTHERS_SCRIPT, shown)
    assert 'onload="y' not in shown
    assert shown.count("&lt;script&gt;") > 10
    assert "All answers" in shown


def test_the_page_needs_no_script_and_nothing_from_elsewhere() -> None:
    shown = page(IDLE, LEARNED)
    assert not re.search(rf"{OTHERS_SCRIPT}|<link|<iframe|<img| style=| on\w+=|https?://", shown)


def test_numbers_are_written_alike_within_a_table() -> None:
    values = [row.value for row in table("logprob_margin.margin", IDLE, LEARNED).rows]
    assert all(re.fullmatch(r"−?\d+\.\d", value) for value in values), values
