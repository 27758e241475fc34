"""The page of a step, and text that tries to be something else in every place that shows text."""

import re

import pytest

from tests.browser.hostile import NASTY
from tests.browser.plotted import scrolled_through
from tests.browser.shown_runs import GOLDEN, address
from tests.browser.visits import PHONE, Page, Visit, is_too_wide

pytestmark = pytest.mark.browser

HOSTILE_PAGES = {
    "list": "/v1/eval",
    "run": address("/run", run=NASTY),
    "baseline": address("/step", run=NASTY, preference=NASTY),
    "step": address("/step", run=NASTY, preference=NASTY, updates=2),
    "compare": address("/compare", run=[NASTY, "seed1"]),
    "no such run": address("/run", run=f"{NASTY}?"),
    "no such preference": address("/step", run=GOLDEN, preference=NASTY),
}


def unfold(page: Page) -> None:
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


@pytest.mark.parametrize("where", HOSTILE_PAGES)
@pytest.mark.parametrize("how", [{}, PHONE], ids=["desk", "phone"])
def test_hostile_text_is_shown_and_nothing_else(visit: Visit, where: str, how: dict) -> None:
    expected = ["console error: Failed to load resource: the server responded with a status of 404 (Not Found)"]
    with visit(HOSTILE_PAGES[where], expected=expected if where.startswith("no such") else [], **how) as page:
        unfold(page)
        if where == "run":
            scrolled_through(page)
        page.wait_for_timeout(100)
        assert page.evaluate("window.pwned === undefined")
        assert page.locator("main img:not(.still), main iframe, main style:not([id^=plotly]), main meta").count() == 0
        assert page.locator("[onerror], [onload], a[href^=javascript]").count() == 0
        assert not is_too_wide(page)
        assert "onerror=pwned=1" in page.locator("main").inner_text()
        assert "{{ 7*7 }}" in page.locator("main").inner_text()


def test_hostile_names_work_as_links_and_in_the_drawer(visit: Visit) -> None:
    with visit("/v1/eval") as page:
        page.locator(".list tbody th a", has_text="onerror").click()
        page.wait_for_load_state()
        page.get_by_role("link", name="after the last update").click()
        inside = page.get_by_role("dialog")
        inside.get_by_role("heading", name="after update 2 of 2").wait_for()
        inside.get_by_role("link", name="lost answers").click()
        inside.locator("[aria-current]", has_text="lost answers").wait_for()
        inside.locator(".transcript h3 a").first.click()
        inside.get_by_role("link", name="← All transcripts").wait_for()
        assert page.evaluate("window.pwned === undefined")
        assert inside.locator("script, img, iframe, style, meta").count() == 0


def test_what_came_under_the_pointer_says_names_as_they_are(visit: Visit) -> None:
    with visit(HOSTILE_PAGES["run"]) as page:
        plot = page.locator("[data-chart='compliance/preference_compliance']")
        plot.scroll_into_view_if_needed()
        point = plot.locator(".points path").first
        point.wait_for(state="attached")
        box = point.bounding_box()
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.mouse.move(box["x"] + 4, box["y"] + 4)
        plot.locator(".hoverlayer text").first.wait_for(state="attached")
        assert "<img src=x" in plot.locator(".hoverlayer").text_content()


def test_a_long_answer_ends_and_is_whole_on_its_own_page(visit: Visit) -> None:
    with visit(address("/step", run=NASTY, preference=NASTY, updates=1), **PHONE) as page:
        page.get_by_text("more characters").first.wait_for(state="attached")
        assert page.evaluate("document.querySelector('main').innerText.length") < 150_000
        page.locator(".transcript h3 a").nth(4).tap()
        page.wait_for_load_state()
        assert "W" * 50_000 in page.locator(".text").first.inner_text()
        assert not is_too_wide(page)


def test_right_to_left_text_stands_at_the_right(visit: Visit) -> None:
    with visit(address("/step", run=NASTY, preference=NASTY, updates=1)) as page:
        prompt = page.locator(".prompt", has_text="لا تكتب").first
        assert prompt.evaluate("each => getComputedStyle(each).direction") == "rtl"


def test_a_step_leads_to_its_neighbours_and_its_transcripts(visit: Visit) -> None:
    with visit(address("/step", run=GOLDEN, preference="concise")) as page:
        page.get_by_role("link", name="Update 1 →").click()
        assert page.locator("h1").inner_text() == "concise after update 1 of 3"
        page.get_by_role("link", name="flipped since baseline").click()
        flips = page.locator(".transcript").count()
        assert flips == int(page.locator("[aria-label=Show] [aria-current] small").inner_text())
        assert page.locator(".transcript .mark", has_text=re.compile("0 → 1|1 → 0")).count() == flips
        page.locator(".transcript h3 a").first.click()
        assert page.locator(".sides").is_visible(), "beside what was said at baseline"
        assert page.locator(".p0, .p1").first.is_visible() or page.get_by_text("does not have the texts").is_visible()
        page.locator(".trail a").click()
        assert page.locator("h1").inner_text().startswith(GOLDEN)
