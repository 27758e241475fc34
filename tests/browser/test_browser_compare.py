"""Runs compared, driven: overlaid charts, the numbers behind them, and another run as the reference."""

from itertools import pairwise

import pytest

from tests.browser.plotted import lines_drawn, numbers_told, points_drawn, points_given, scrolled_through
from tests.browser.shown_runs import SEEDS, address
from tests.browser.visits import PHONE, Visit, is_too_wide

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("count", [2, 3])
def test_runs_are_overlaid(visit: Visit, count: int) -> None:
    with visit(address("/compare", run=SEEDS[:count])) as page:
        assert page.locator("h1").inner_text() == f"{count} runs compared"
        scrolled_through(page)
        assert {len(lines) for lines in lines_drawn(page).values()} == {count}
        assert points_drawn(page) == points_given(page)
        assert {len(cells) for rows in numbers_told(page).values() for cells in rows.values()} == {count}


def test_opened_details_do_not_lie_over_each_other(visit: Visit) -> None:
    with visit(address("/compare", run=SEEDS)) as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        tables = page.locator("table.beside")
        assert tables.count() >= 9
        for table in tables.all():
            table.scroll_into_view_if_needed()
            boxes = table.evaluate("table => [...table.rows].map((row) => row.getBoundingClientRect().toJSON())")
            assert all(above["bottom"] <= below["top"] + 1 for above, below in pairwise(boxes))


def test_the_reference_changes_and_a_run_is_left_out(visit: Visit) -> None:
    with visit(address("/compare", run=SEEDS)) as page:
        page.get_by_role("link", name="Make it the reference : seed3").click()
        assert page.locator(".run-name").first.inner_text().startswith("seed3")
        page.get_by_role("link", name="Leave it out : seed1").click()
        assert page.locator("h1").inner_text() == "2 runs compared"
        page.get_by_role("link", name="seed2").first.click()
        assert page.locator("h1").inner_text().startswith("seed2")


def test_on_a_phone(visit: Visit) -> None:
    with visit(address("/compare", run=SEEDS), **PHONE) as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        scrolled_through(page)
        assert not is_too_wide(page)
