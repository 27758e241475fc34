"""The page that compares runs: what it says, and that it says nothing it should not."""

import re
from dataclasses import replace
from html import unescape

import pytest

from claas.core.errors import InvalidInput
from claas.dashboard.charts import Charts
from claas.dashboard.compare_page import ComparedRun, Comparison, KeyTable, comparison_page
from claas.dashboard.pages import Addresses
from claas.results.records import History, Transcript
from tests.dashboard.compared_runs import metadata, run_of
from tests.results.synthetic_runs import Collapsing, Unchanged, World, make_history

HOSTILE = "<script>alert('x')</script>\" onload=\"y\u202e&lt; 🙂"

OTHERS_SCRIPT = r'<script(?! type="application/json"| defer src="/v1/eval/assets/[\w.-]+"></script>)'


def page(*runs: ComparedRun) -> str:
    return comparison_page(runs, Charts((), ()), Addresses(results_dir="mine"))


def text(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def table(key: str, *runs: ComparedRun) -> KeyTable:
    return next(each for each in Comparison(runs).tables("concise") if each.key == key)


def rows(key: str, *runs: ComparedRun) -> list[str]:
    """What the page's table of a key says of each run."""
    caption = f'<caption class="hidden">{re.escape(key)}</caption>'
    (found,) = re.findall(f"{caption}.*?<tbody>(.*?)</tbody>", page(*runs), re.DOTALL)
    return [text(row).strip() for row in re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)]


def places(html: str) -> list[float]:
    """Where the first bar and its value are drawn: low end, value, high end."""
    low, high, value = re.findall(r'class="reach" x1="(.*?)" x2="(.*?)".*?class="at" x1="(.*?)"', html, re.DOTALL)[0]
    return [float(low), float(value), float(high)]


def noisy(level: float) -> type[World]:
    return type("Noisy", (World,), {"heldout": staticmethod(lambda t: level)})


IDLE = run_of("idle", [make_history(Unchanged())])
LEARNED = run_of("learned")


def test_the_first_run_is_the_reference_and_the_others_are_read_against_it() -> None:
    reference, other = rows("heldout_compliance", IDLE, LEARNED)
    assert reference == "A 0.047 0.016 to 0.129 after 6 updates, n = 64 reference"
    assert re.fullmatch(r"B 1\.000 .* \+0\.953 \+.* to \+.* ▲ higher B − A, n = 64, Holm’s p = .*", other), other
    html = " ".join(page(IDLE, LEARNED).split())
    summary = '<summary><span class="key-name">Held-out prompts <code>heldout_compliance</code></span>'
    assert f'<details class="key" open> {summary}' in html
    low, value, high = places(html.split("<code>heldout_compliance</code>")[1])
    assert 50 < low < value < high <= 98
    swapped = rows("heldout_compliance", LEARNED, IDLE)[1]
    assert " −0.953 " in swapped
    assert " ▼ lower " in swapped


def test_the_summary_names_what_differs_and_counts_the_rest() -> None:
    assert list(Comparison([IDLE, LEARNED]).pairs) == [("concise", "B", "A")]
    short = text(page(IDLE, LEARNED)).split("In short")[1].split("What they differ in")[0]
    assert short.startswith(" B against A concise ")
    assert " Held-out prompts: higher (+0.953, interval +" in short
    assert short.strip().endswith("of 7 keys: 2 the same in every item")


def test_runs_of_unequal_length_say_after_how_many_updates_each_value_is() -> None:
    shorter = run_of("shorter", [make_history(steps=6, done=2)])
    reference, other = rows("heldout_compliance", LEARNED, shorter)
    assert " after 6 updates, " in reference
    assert " after 2 updates, " in other
    assert "B after 2 updates, A after 6" in other
    assert "2 of 6 steps, running" in text(page(LEARNED, shorter))


def test_items_without_a_partner_are_counted_on_the_page() -> None:
    def reworded(rollout: Transcript) -> Transcript:
        changed = rollout.item in ("heldout/0", "heldout/1")
        return rollout.model_copy(update={"prompt": "another"}) if changed else rollout

    history = make_history()
    last = history.steps[-1]
    step = last.model_copy(update={"rollouts": [reworded(rollout) for rollout in last.rollouts]})
    other = run_of("other", [replace(history, steps=(*history.steps[:-1], step))])
    assert table("heldout_compliance", LEARNED, other).differences["B"].n == 62
    assert rows("heldout_compliance", LEARNED, other)[1].endswith(" left out: 2 asked, or scored, on another text")


def test_three_seeds_show_their_spread_and_two_do_not() -> None:
    levels = {1: 0.5, 2: 0.75, 3: 1.0}
    runs = [run_of(f"s{seed}", [make_history(noisy(level)())], seed=seed) for seed, level in levels.items()]
    (spread,) = table("heldout_compliance", *runs).spreads
    assert (spread.letters, spread.updates) == (["A", "B", "C"], 6)
    assert "standard deviation 0.250, from 0.500 to 1.000" in text(page(*runs))
    assert table("heldout_compliance", *runs[:2]).spreads == []
    reworded = replace(runs[2], metadata={"concise": metadata(digest="another")})
    assert table("heldout_compliance", *runs[:2], reworded).spreads == [], "not the same measurement"
    assert "Over 3 seeds (A, B, C, after 6 updates): mean 0.750" in text(page(*runs))


def test_criteria_stand_side_by_side() -> None:
    runs = [LEARNED, run_of("bad", [make_history(Collapsing())])]
    good, bad = Comparison(runs).rulings("concise")["capability_retention"]
    assert good is not None
    assert bad is not None
    assert (good.verdict, bad.verdict) == ("pass", "fail")
    assert re.search(r" Capability retention pass .* asked: > 0\.9 .*fail .* asked: > 0\.9 ", text(page(*runs)))


def test_items_that_only_one_run_passes_show_both_answers() -> None:
    found = {each.items.flips: each for each in Comparison([IDLE, LEARNED]).items("concise")}
    assert (found["capability"].in_turn, len(found["heldout"].in_turn)) == ([], 61)
    heldout = text(page(IDLE, LEARNED)).split("Held-out, B and A: ")[1].split("All answers")[0]
    assert heldout.startswith("of 64 items 0 pass in A only and 61 in B only ")
    assert heldout.count(" A fail ") == heldout.count(" B pass ") == 20
    assert "41 more are not shown here" in heldout


def test_items_that_one_run_did_not_judge_are_counted() -> None:
    history = make_history()
    last = history.steps[-1]
    lost = [
        rollout.model_copy(update={"response": None, "verdict": None}) if rollout.item == "heldout/3" else rollout
        for rollout in last.rollouts
    ]
    other = run_of("other", [replace(history, steps=(*history.steps[:-1], last.model_copy(update={"rollouts": lost})))])
    said = "Held-out, B and A: of 64 items none passes in one run only; 1 not judged in both."
    assert said in text(page(LEARNED, other))
    assert rows("heldout_compliance", LEARNED, other)[1].endswith(" left out: 1 lost in one of the two")


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
    found = Comparison([LEARNED, both])
    assert (list(found.shared), found.alone) == (["concise"], {"identity": "B"})
    assert "Not compared, because one run only has them: identity (B)" in text(page(LEARNED, both))


def test_a_run_that_has_measured_nothing_yet_is_shown_as_such() -> None:
    fresh = replace(run_of("fresh", [History("concise", 6)]), summaries={})
    shown = text(page(LEARNED, fresh))
    assert "nothing judged yet" in shown
    assert "No two runs have measured the same yet." in shown
    nothing_shared = text(page(LEARNED, run_of("other", [make_history(preference="identity")])))
    assert "These runs have measured no preference in common." in nothing_shared


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"]])
def test_fewer_than_two_different_runs_are_no_comparison(names: list[str]) -> None:
    with pytest.raises(InvalidInput, match="two or more different runs"):
        Comparison([replace(LEARNED, name=name) for name in names])


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
    values = [row.split()[1] for row in rows("logprob_margin.margin", IDLE, LEARNED)]
    assert len(values) == 2
    assert all(re.fullmatch(r"−?\d+\.\d", value) for value in values), values
