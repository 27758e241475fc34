"""The page of a run, driven: its charts against its tables, its choices, and the drawer that a step opens in."""

import re

import pytest

from tests.browser.plotted import given, lines_drawn, numbers_told, points_drawn, points_given, scrolled_through
from tests.browser.shown_runs import GOLDEN, PREFERENCES, THREE, address
from tests.browser.visits import PHONE, Page, Visit, is_too_wide, tab_to, until

pytestmark = pytest.mark.browser

RUNS = {GOLDEN: ("concise",), THREE: PREFERENCES}


def run_address(run: str) -> str:
    return address("/run", run=run)


def drawer(page: Page) -> Page:
    return page.get_by_role("dialog", name="What one step said")


def is_at_run(page: Page) -> bool:
    """Whether the page is that of the run, with nothing over it."""
    until(page, "!history.state && !document.getElementById('drawer').open")
    return "/run?" in page.url


@pytest.mark.parametrize("run", RUNS)
def test_everything_measured_is_drawn(visit: Visit, run: str) -> None:
    with visit(run_address(run)) as page:
        scrolled_through(page)
        assert sum(points_given(page).values()) > 40
        assert points_drawn(page) == points_given(page)
        assert {len(lines) for lines in lines_drawn(page).values()} == {len(RUNS[run])}


@pytest.mark.parametrize("run", RUNS)
def test_the_tables_say_what_the_charts_show(visit: Visit, run: str) -> None:
    with visit(run_address(run)) as page:
        tables, charts = numbers_told(page), given(page)["charts"]
        titles = page.evaluate(
            "Object.fromEntries([...document.querySelectorAll('[data-chart]')].map((plot) =>"
            " [plot.dataset.chart, plot.closest('figure').querySelector('h3').textContent]))"
        )
        compared = 0
        for name, chart in charts.items():
            for trace in (trace for trace in chart["data"] if trace["meta"]["role"] == "value"):
                for at, height in zip(trace["x"], trace["y"], strict=True):
                    cell = tables[titles[name]][at][trace["meta"]["series"]]
                    assert (
                        cell == "lost" if height is None else float(cell.split()[0]) == pytest.approx(height, rel=6e-4)
                    )
                    compared += 1
        assert compared > 40


@pytest.mark.parametrize("run", RUNS)
def test_every_criterion_has_its_row(visit: Visit, run: str) -> None:
    with visit(run_address(run)) as page:
        for preference in RUNS[run]:
            table = page.get_by_role("region", name=f"Criteria of {preference}")
            assert table.is_visible()
            for row in table.locator("tbody tr").all():
                name, verdict, value, interval, _, wanted, n, _ = row.locator("th, td").all_inner_texts()
                low, high = map(float, interval.split(" to "))
                assert low <= float(value) <= high
                assert re.fullmatch(r"[≥≤<>] [\d.]+", wanted), name
                assert int(n) > 0
                assert verdict in ("pass", "fail", "inconclusive")


def test_a_preference_is_hidden_in_every_chart_and_comes_back(visit: Visit) -> None:
    with visit(run_address(THREE)) as page:
        scrolled_through(page)
        everything = lines_drawn(page)
        page.get_by_label("identity", exact=True).uncheck()
        assert {len(lines) for lines in lines_drawn(page).values()} == {2}
        page.get_by_role("button", name="only no_emoji").click()
        assert {len(lines) for lines in lines_drawn(page).values()} == {1}
        assert page.get_by_label("concise", exact=True).is_checked() is False
        page.get_by_role("button", name="all", exact=True).click()
        assert lines_drawn(page) == everything


def test_the_scheme_of_the_reader_colours_the_charts(visit: Visit) -> None:
    paper = "getComputedStyle(document.querySelector('[data-chart] .main-svg')).backgroundColor"
    with visit(run_address(GOLDEN), color_scheme="light") as page:
        scrolled_through(page)
        light = page.evaluate(paper), lines_drawn(page)
        page.emulate_media(color_scheme="dark")
        until(page, f"{paper} !== '{light[0]}'")
        dark = page.evaluate(paper), lines_drawn(page)
        assert light[0] == "rgb(255, 255, 255)"
        assert dark[0] == page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
        assert all(dark[1][name] != lines for name, lines in light[1].items())
        page.emulate_media(color_scheme="light")
        until(page, f"{paper} === '{light[0]}'")
        assert lines_drawn(page) == light[1]


def test_a_point_of_a_chart_opens_its_step(visit: Visit) -> None:
    with visit(run_address(THREE)) as page:
        plot = page.locator("[data-chart='compliance/preference_compliance']")
        page.get_by_role("button", name="only identity").click()
        plot.scroll_into_view_if_needed()
        point = plot.locator(".points path").nth(5)
        point.wait_for(state="attached")
        box = point.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        plot.locator(".hoverlayer text").first.wait_for(state="attached")
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        drawer(page).get_by_role("heading", name="identity after update 5 of 7").wait_for()
        page.keyboard.press("Escape")
        assert is_at_run(page)


def test_a_step_opens_in_the_drawer_and_the_focus_returns(visit: Visit) -> None:
    with visit(run_address(GOLDEN)) as page:
        link = page.get_by_role("link", name="after the last update")
        link.focus()
        page.keyboard.press("Enter")
        drawer(page).get_by_role("heading", name="concise after update 3 of 3").wait_for()
        assert page.evaluate("document.activeElement.closest('dialog') !== null")
        page.keyboard.press("Escape")
        assert is_at_run(page)
        assert page.evaluate("document.activeElement.textContent") == "after the last update"
        link.click()
        drawer(page).get_by_role("button", name="Close").click()
        assert is_at_run(page)
        link.click()
        page.mouse.click(20, 400)
        assert is_at_run(page), "a click beside the drawer closes it"


def test_what_is_followed_in_the_drawer_stays_in_it(visit: Visit) -> None:
    with visit(run_address(GOLDEN)) as page:
        page.get_by_role("link", name="after the last update").click()
        inside = drawer(page)
        inside.get_by_role("link", name="compliance/heldout").click()
        inside.locator("[aria-current]", has_text="compliance/heldout").wait_for()
        assert page.evaluate("document.activeElement.closest('dialog') !== null"), "the focus stays inside"
        inside.get_by_role("link", name="Later →").click()
        inside.get_by_text("Page 2 of").wait_for()
        inside.get_by_role("link", name="← Update 2").click()
        inside.get_by_role("heading", name="concise after update 2 of 3").wait_for()
        inside.locator(".transcript h3 a").first.click()
        inside.get_by_role("link", name="← All transcripts").wait_for()
        assert "/run?" in page.url
        page.go_back()
        assert is_at_run(page), "back leaves the drawer, and not the run"
        page.go_forward()
        inside.get_by_role("link", name="← All transcripts").wait_for()
        page.reload()
        inside.get_by_role("link", name="← All transcripts").wait_for()


def test_a_step_as_a_page_of_its_own_and_back(visit: Visit) -> None:
    with visit("/v1/eval") as page:
        page.get_by_role("link", name=GOLDEN).click()
        page.wait_for_load_state()
        page.get_by_role("link", name="before any feedback").click()
        drawer(page).get_by_role("heading", name="concise at baseline").wait_for()
        drawer(page).get_by_role("link", name="Open as a page").click()
        page.wait_for_url("**/step?*")
        assert page.locator("h1").inner_text() == "concise at baseline"
        page.go_back()
        drawer(page).get_by_role("heading", name="concise at baseline").wait_for()
        page.go_back()
        assert is_at_run(page)
        page.go_back()
        assert page.locator("h1").inner_text() == "Runs"


def test_a_step_of_the_table_by_keyboard(visit: Visit) -> None:
    with visit(run_address(GOLDEN)) as page:
        tab_to(page, "#steps summary")
        page.keyboard.press("Enter")
        tab_to(page, "#steps a[data-step='2']")
        page.keyboard.press("Enter")
        drawer(page).get_by_role("heading", name="concise after update 2 of 3").wait_for()
        inside = tab_to(page, ".drawer-content summary")
        assert "link Open as a page" not in inside
        page.keyboard.press("Escape")
        assert is_at_run(page)
        assert page.evaluate("document.activeElement.dataset.step") == "2"


def test_on_a_phone_two_taps_on_a_point_open_its_step(visit: Visit) -> None:
    with visit(run_address(GOLDEN), **PHONE) as page:
        scrolled_through(page)
        assert not is_too_wide(page)
        plot = page.locator("[data-chart='compliance/preference_compliance']")
        plot.scroll_into_view_if_needed()
        box = plot.locator(".points path").nth(2).bounding_box()
        for _ in range(2):
            page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            page.wait_for_timeout(700)
        drawer(page).get_by_role("heading", name="concise after update 2 of 3").wait_for()
        assert page.evaluate("document.getElementById('drawer').scrollWidth <= 360")
