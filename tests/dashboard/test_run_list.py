"""The list of runs: filtered by words, state and verdict; sorted by any column, both ways; cut into pages."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.errors import InvalidInput, NotFound
from claas.dashboard.run_list import SORTS, RunQuery, page_of_runs
from claas.results.overview import Listed, PreferenceRow, RunRow, State
from claas.results.verdict import Verdict


def preference(name: str = "concise", curve: dict[int, float | None] | None = None) -> PreferenceRow:
    curve = {0: 0.0, 1: 1.0} if curve is None else curve
    return PreferenceRow(
        name=name,
        drawn="polite answers",
        note=None,
        steps_done=1,
        steps_planned=2,
        verdict=None,
        reason=None,
        curve=curve,
    )


def run(name: str, **changed: Any) -> Listed:
    fields: dict[str, Any] = {
        "run_id": name, "created": "2026-01-01T00:00:00+00:00", "base_model": "claas-tiny", "mode": "local", "seed": 1,
        "state": State.COMPLETE, "verdict": Verdict.PASS, "preferences": (preference(),), "updates": 1, "planned": 2,
        "tokens": 3, "settings": {}, "seconds": 4.0, "busy_s": 4.0, "worked": (), "cost": None, "problems": (),
    }  # fmt: skip
    return Listed(name, RunRow(**fields | changed))


def names(found: Sequence[Listed], **wanted: Any) -> list[str]:
    return [each.name for each in page_of_runs(found, RunQuery(**wanted)).runs]


BROKEN = Listed("broken", None, "no run: an empty folder")


def test_words_are_looked_for_in_name_model_and_preferences() -> None:
    found = [
        run("first try", base_model="Qwen/Qwen3-8B"),
        run("second", preferences=(preference("identity"), preference("no_emoji"))),
        run("Größe", base_model="x"),
        BROKEN,
    ]
    for words, expected in {
        "": {"first try", "second", "Größe", "broken"},
        "  ": {"first try", "second", "Größe", "broken"},
        "FIRST": {"first try"},
        "try first": {"first try"},
        "qwen3": {"first try"},
        "emoji identity": {"second"},
        "grösse": {"Größe"},
        "second qwen3": set(),
        "brok": {"broken"},
        "empty": set(),
        ".*": set(),
    }.items():
        assert set(names(found, q=words)) == expected, words


def test_settings_are_found_by_what_was_given_and_by_name_only_with_their_value() -> None:
    given = {"seed": "42", "num_steps": "20", "feedback_variation": "none"}
    found = [
        run("usual", settings=given),
        run("other", settings={**given, "seed": "7", "feedback_variation": "paraphrase"}),
    ]
    for words, expected in {
        "seed": [],
        "variation": [],
        "paraphrase": ["other"],
        "7": ["other"],
        "42": [],
        "seed=42": ["usual"],
        "SEED=7 paraphrase": ["other"],
        "usual seed=7": [],
        "variation=none num_steps=20": ["usual"],
    }.items():
        assert names(found, q=words) == expected, words


def test_states_and_verdicts_are_asked_for_by_name() -> None:
    found = [run(state.value, state=state, verdict=None) for state in State if state is not State.UNREADABLE]
    found += [run(verdict.value, verdict=verdict) for verdict in Verdict]
    found += [BROKEN]
    assert names(found, state="unreadable") == ["broken"]
    assert names(found, state="running") == ["running"]
    assert set(names(found, state="complete")) == {"complete", "pass", "fail", "inconclusive"}
    for verdict in Verdict:
        assert names(found, verdict=verdict.value) == [verdict.value]
    assert names(found, verdict="pass", state="stopped") == []


@pytest.mark.parametrize("wanted", [{"state": "done"}, {"verdict": "Pass"}, {"sort": "size"}, {"sort": ""}])
def test_what_is_not_known_is_refused_with_what_is(wanted: dict[str, Any]) -> None:
    ((name, value),) = wanted.items()
    with pytest.raises(InvalidInput, match=f"unknown {name} '{value}'; known: "):
        RunQuery(**wanted)


ASCENDING: dict[str, list[dict[str, Any]]] = {
    "started": [{"created": "2025-12-31T23:59:59+00:00"}, {}, {"created": "2026-01-01T00:00:01+00:00"}],
    "run": [{}, {}, {}],
    "model": [{"base_model": "a"}, {"base_model": "b"}, {"base_model": "c"}],
    "verdict": [{}, {"verdict": Verdict.FAIL}, {"verdict": Verdict.INCONCLUSIVE}, {"verdict": None}],
    "held-out": [
        {"preferences": ()},
        {"preferences": (preference(curve={0: 0.1, 1: 0.2, 2: None}), preference(curve={0: 0.9}))},
        {"preferences": (preference(curve={0: 0.0, 1: 0.3}),)},
    ],
    "steps": [{"updates": 0}, {"updates": 9}, {"updates": 10}],
    "tokens": [{"tokens": 0}, {"tokens": 999}, {"tokens": 1000}],
    "time": [{"seconds": 0.0}, {"seconds": 9.5}, {"seconds": 10.0}],
}


@pytest.mark.parametrize("sort", list(SORTS))
def test_every_column_sorts_both_ways(sort: str) -> None:
    ordered = [run(f"run {place}", **changed) for place, changed in enumerate(ASCENDING[sort])]
    shuffled = [*ordered[1:], ordered[0], BROKEN, Listed("a broken one", None, "?")]
    expected = [each.name for each in ordered]
    last = ["a broken one", "broken"]
    assert names(shuffled, sort=sort, descending=False) == expected + last
    assert names(shuffled, sort=sort, descending=True) == expected[::-1] + last, "what has no row is always last"


@pytest.mark.parametrize("sort", [sort for sort in SORTS if sort not in ("started", "run")])
def test_ties_go_by_start_and_name_whatever_order_they_were_found_in(sort: str) -> None:
    tied = [run("b", created="2026-01-01"), run("a", created="2026-01-02"), run("c", created="2026-01-02")]
    for found in (tied, tied[::-1]):
        assert names(found, sort=sort, descending=True) == ["c", "a", "b"]
        assert names(found, sort=sort, descending=False) == ["b", "a", "c"]


@given(st.integers(0, 30), st.integers(1, 12))
def test_the_pages_hold_every_run_once(count: int, per_page: int) -> None:
    found = [run(f"{number:02}") for number in range(count)]
    first = page_of_runs(found, RunQuery(sort="run", descending=False, per_page=per_page))
    assert (first.matching, first.total, first.pages) == (count, count, max(1, -(-count // per_page)))
    shown = [
        name
        for number in range(1, first.pages + 1)
        for name in names(found, sort="run", descending=False, per_page=per_page, page=number)
    ]
    assert shown == [each.name for each in found]
    with pytest.raises(NotFound, match=f"page={first.pages + 1} is beyond the last page of the runs"):
        names(found, per_page=per_page, page=first.pages + 1)


def test_pages_are_of_what_matches() -> None:
    found = [run(f"{number}") for number in range(10)] + [run(f"other {number}") for number in range(3)]
    page = page_of_runs(found, RunQuery(q="other", per_page=2, page=2))
    assert (len(page.runs), page.matching, page.total, page.pages) == (1, 3, 13, 2)
    with pytest.raises(NotFound, match=f"page={10**30} is beyond"):
        page_of_runs(found, RunQuery(page=10**30))


def test_the_last_value_is_the_last_that_was_measured() -> None:
    assert preference(curve={3: None, 2: 0.5, 0: 0.1}).last_value == 0.5
    assert preference(curve={0: None}).last_value is None
    assert preference(curve={}).last_value is None
    assert replace_curve({1: 0.0, 0: 1.0}).last_value == 0.0


def replace_curve(curve: dict[int, float | None]) -> PreferenceRow:
    return preference().model_copy(update={"curve": curve})


def test_a_row_or_a_problem() -> None:
    assert BROKEN.state is State.UNREADABLE
    assert replace(BROKEN, row=run("x").row).state is State.COMPLETE
