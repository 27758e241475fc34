"""One measurement's page: what was trained, what turned since baseline, and every transcript exactly once."""

import re
from html import escape
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.errors import NotFound
from claas.dashboard.step_choice import StepQuery, TranscriptFilter
from claas.dashboard.step_page import StepView, step_fragment
from claas.results.items import item_changes
from claas.results.records import AdapterVersion, Canary, Counts, History
from tests.dashboard.step_records import HOSTILE, Balanced, baseline, links, page, said, step, text_of, viewed


def test_the_head_says_what_was_said_trained_and_measured() -> None:
    now = step(
        eval={"preference_compliance": 0.75, "general": {"score": None}},
        counts={"compliance": Counts(planned=12, scored=9, errored=3, truncated=2)},
        canary=Canary(logprobs=[-1.0, -2.5], repeat=[-1.0, -2.5]),
        timing_s={"sample": 0.5, "update": 2.25, "measure": 8},
        tokens={"prompt": 321},
    )
    before = baseline(eval={"preference_compliance": 0.5, "general": {"score": 1.0}})
    html = page(before, now)
    text = re.sub(r"\s+", " ", text_of(html))
    for part in (
        "calm after update 5 of 10",
        "2026-01-02 03:04:05 UTC",
        "eval/calm version 5",
        "Feedback givenCalmer, please",
        "Trained on?",
        "The answer trained on.",
        "rollout-9",
        "Canary-3.5 nats",
    ):
        assert part in text, part
    assert f"{5:064x}" in html
    assert _rows(html) >= {
        ("preference_compliance", "0.5", "0.75", "+0.25"),
        ("general.score", "1", "not measured", "–"),
        ("compliance", "12", "9", "3", "2"),
        ("total_loss", "0.25"),
        ("update", "2.25"),
        ("prompt", "321"),
    }


def test_a_baseline_is_shown_alone() -> None:
    html = page(baseline(said("probe/0"), eval={"preference_compliance": 0.5}), None)
    assert "at baseline" in html
    assert "before any training" in html
    assert _rows(html) >= {("preference_compliance", "0.5")}
    for absent in ("Feedback given", "Change", "<ins", "<del", "trained on", "turned since"):
        assert absent not in html


def test_another_measurements_record_is_not_found() -> None:
    for updates, record in ((3, step()), (1, None), (0, step())):
        with pytest.raises(NotFound, match=f"no measurement after updates={updates} "):
            StepView("calm", 10, 5, baseline(), record, StepQuery(updates), links)


def test_neighbours_are_linked_and_keep_what_is_being_read() -> None:
    now = step(said("heldout/3"), number=2)
    html = page(baseline(), now, metric="compliance", item="heldout/3")
    assert _hrefs(html, rel="prev") == [{"updates": "2", "metric": "compliance", "item": "heldout/3"}]
    assert _hrefs(html, rel="next") == [{"updates": "4", "metric": "compliance", "item": "heldout/3"}]
    assert viewed(baseline(), step(number=4)).following is None, "the sixth update has not been measured yet"
    assert viewed(baseline(), None).previous is None


PAIRS = {
    "heldout/0": (False, True),
    "heldout/1": (True, False),
    "heldout/2": (True, True),
    "heldout/3": (None, True),
    "probe/0": (False, True),
    "probe/1": (False, False),
}


def test_flips_are_those_of_the_summary() -> None:
    before = baseline(*(said(item, passed=pair[0]) for item, pair in PAIRS.items()), eval={"heldout_compliance": 0})
    now = step(*(said(item, passed=pair[1]) for item, pair in PAIRS.items()), eval={"heldout_compliance": 0})
    known = item_changes(History("calm", 10, before, (now,)))["heldout"]
    found = {items.flips: flips for items, flips in viewed(before, now).flips}
    assert set(found) == {"heldout", "probe"}
    assert found["heldout"].gained == known.gained == ["heldout/0"]
    assert found["heldout"].lost == known.lost == ["heldout/1"]
    assert (found["heldout"].n, found["heldout"].unmeasured) == (known.n, known.unmeasured) == (4, ["heldout/3"])
    assert _rows(page(before, now)) >= {("heldout", "1", "1", "1", "4"), ("probe", "1", "0", "0", "2")}
    assert shown(viewed(before, now, only=TranscriptFilter.FLIPS)) == ["heldout/0", "heldout/1", "probe/0"]


def test_a_users_own_judged_metric_has_its_flips_too() -> None:
    before = baseline(said("a", passed=True, metric="mine"), said("b", metric="unjudged"))
    now = step(said("a", passed=False, metric="mine"), said("b", metric="unjudged"))
    ((items, found),) = viewed(before, now).flips
    assert (items.flips, found.n, found.lost) == ("mine", 1, ["a"])


def test_flips_beyond_what_is_named_are_counted() -> None:
    items = [f"heldout/{number}" for number in range(100)]
    before = baseline(*(said(item, passed=False) for item in items))
    html = page(before, step(*(said(item, passed=True) for item in items)))
    assert _rows(html) >= {("heldout", "100", "0", "0", "100")}
    assert "and 40 more" in html


def test_filters_say_how_many_they_leave_and_lead_there() -> None:
    now = step(
        said("probe/0", passed=False), said("probe/1", passed=True), said("heldout/0", None), said("x", metric="m")
    )
    before = baseline(said("probe/1", passed=False))
    html = page(before, now, metric="compliance")
    assert _choices(html, "What was measured") == ["all 4", "compliance/probe 2", "compliance/heldout 1", "m 1"]
    assert _choices(html, "Show") == ["all 3", "flipped since baseline 1", "failed 1", "lost answers 1"]
    for only, items in {"flips": ["probe/1"], "failed": ["probe/0"], "errors": ["heldout/0"]}.items():
        assert shown(viewed(before, now, only=TranscriptFilter(only))) == items
        assert f'href="{escape(links(StepQuery(5, "compliance", TranscriptFilter(only))))}#' in html
    assert shown(viewed(baseline(), now, metric="compliance/probe")) == ["probe/0", "probe/1"]


def test_what_was_not_measured_is_said_and_not_an_error() -> None:
    html = page(baseline(), step(said("probe/0")), metric="collapse<script>")
    assert "No transcript of this measurement is of collapse&lt;script&gt;" in html


def test_a_metric_with_many_kinds_of_items_is_one_list() -> None:
    now = step(*(said(f"{number}/0", metric="wide") for number in range(7)))
    assert list(viewed(baseline(), now).kinds) == [None, "wide"]


@given(count=st.integers(0, 120), only=st.sampled_from([None, TranscriptFilter.FAILED]))
def test_the_pages_hold_every_transcript_once(count: int, only: TranscriptFilter | None) -> None:
    now = step(*(said(f"heldout/{number}", passed=number % 3 == 0) for number in range(count)))
    first = viewed(baseline(), now, only=only)
    pages = [viewed(baseline(), now, only=only, page=number) for number in range(1, first.page.pages + 1)]
    found = [item for each in pages for item in shown(each)]
    assert found == [f"heldout/{number}" for number in range(count) if only is None or number % 3]
    assert first.page.total == len(found)
    for beyond in (0, len(pages) + 1):
        with pytest.raises(NotFound, match=f"page={beyond} "):
            viewed(baseline(), now, only=only, page=beyond)


def test_pages_are_linked_with_what_was_asked_for() -> None:
    now = step(*(said(f"heldout/{number}", passed=False) for number in range(60)))
    html = page(baseline(), now, metric="compliance", only=TranscriptFilter.FAILED, page=2)
    asked = {"updates": "5", "metric": "compliance", "only": "failed"}
    assert asked in _hrefs(html, rel="prev")
    assert asked | {"page": "3"} in _hrefs(html, rel="next")
    assert "Page 2 of 3, 60 transcripts" in html


def test_an_item_asked_for_twice_keeps_its_two_counterparts() -> None:
    before = baseline(said("probe/0", "one"), said("probe/0", "two"))
    found = viewed(before, step(said("probe/0", "one"), said("probe/0", "two"))).page.pairs
    assert [each.same for each in found] == [True, True]
    assert len(viewed(before, step(said("probe/0"), said("probe/0")), item="probe/0").page.pairs) == 2


@pytest.mark.parametrize("number", [None, 4])
def test_names_of_anything_are_text(number: int | None) -> None:
    name = HOSTILE + "\x00\x1b\u202e"
    transcript = said(name, name, metric=name, prompt=name, verdict={"score": 0.5, "passed": False, name: name})
    lost = said(name, None, metric=name, error=name)
    before = baseline(transcript, lost, eval={name: 1.0}, counts={name: Counts(planned=1, scored=1, errored=0)})
    now = step(lost, transcript, eval={name: {name: 2.0}}, feedback_given=name, rollout_ids=[name], timestamp=name)
    now = now.model_copy(update={"adapter": AdapterVersion(lora_id=name, version=1, digest=name)})
    query = StepQuery(0 if number is None else 5)
    html = step_fragment(StepView(name, 10, 5, before, None if number is None else now, query, links))
    Balanced().feed(html)
    assert "<script" not in html
    assert "\x00" not in html
    assert "\x1b" not in html
    assert text_of(html).count(HOSTILE + "\u2400\u241b") > 5


def test_a_fragment_leaves_the_main_heading_to_its_page() -> None:
    view = viewed(baseline(), step(said("probe/0")))
    assert "<h1" not in step_fragment(view)
    assert "<html" not in step_fragment(view)


def test_where_there_is_no_other_place_nothing_leads_there() -> None:
    now = step(*(said(f"heldout/{number}", passed=True) for number in range(60)))
    view = StepView("calm", 10, 5, baseline(), now, StepQuery(5), lambda query: None)
    assert "href" not in step_fragment(view)


def shown(view: StepView) -> list[str]:
    """The items whose transcripts are on the page."""
    return [pair.now.item for pair in view.page.pairs]


def _choices(html: str, label: str) -> list[str]:
    (found,) = re.findall(rf'aria-label="{label}"><ul>(.*?)</ul>', html, re.DOTALL)
    return [text_of(each).strip() for each in re.findall(r"<li>(.*?)</li>", found, re.DOTALL)]


def _rows(html: str) -> set[tuple[str, ...]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return {
        tuple(text_of(cell).strip() for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL)) for row in rows
    }


def _hrefs(html: str, rel: str) -> list[dict[str, str]]:
    found = re.findall(rf'<a rel="{rel}" href="(.*?)"', html)
    queries = (parse_qs(urlsplit(address.replace("&amp;", "&")).query) for address in found)
    return [{name: values[0] for name, values in query.items()} for query in queries]
