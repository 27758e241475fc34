"""Every page without JavaScript: all of it can be read, and its links lead on."""

import pytest

from tests.browser.plotted import numbers_told
from tests.browser.shown_runs import GOLDEN, SEEDS, THREE, address
from tests.browser.visits import Visit

pytestmark = pytest.mark.browser

PLAIN = {"java_script_enabled": False}


def test_from_the_list_to_a_transcript(visit: Visit) -> None:
    with visit("/v1/eval", **PLAIN) as page:
        page.get_by_role("link", name="Run", exact=True).click()
        page.get_by_role("link", name=GOLDEN).click()
        assert page.locator("h1").inner_text().startswith(GOLDEN)
        assert page.locator("noscript img").count() > 3
        for picture in page.locator("noscript img").all():
            assert picture.evaluate("each => each.complete && each.naturalWidth > 300")
        assert page.locator(".charts:visible").count() == 0
        page.get_by_text("concise: every measurement").click()
        page.locator("#steps a[data-step='2']").click()
        assert page.locator("h1").inner_text() == "concise after update 2 of 3"
        page.get_by_role("link", name="compliance/heldout").first.click()
        assert page.locator(".transcript").count() > 10
        page.get_by_role("link", name="Later →").click()
        assert page.get_by_text("Page 2 of").is_visible()
        page.locator(".trail a").click()
        assert page.locator("h1").inner_text().startswith(GOLDEN)


def test_every_number_of_a_run_is_in_its_tables(visit: Visit) -> None:
    with visit(address("/run", run=THREE), **PLAIN) as page:
        tables = numbers_told(page)
        assert [*tables["Held-out prompts"]] == list(range(8))
        assert tables["Held-out prompts"][3][1] == "lost"
        page.locator(".numbers summary").first.click()
        assert page.locator(".numbers table").first.is_visible()


def test_a_comparison(visit: Visit) -> None:
    with visit("/v1/eval", **PLAIN) as page:
        for seed in SEEDS:
            page.get_by_label(f"Compare {seed}").check()
        page.get_by_role("button", name="Compare").click()
        assert page.locator("h1").inner_text() == "3 runs compared"
        assert page.locator(".charts:visible").count() == 0
        assert all(len(cells) == 3 for rows in numbers_told(page).values() for cells in rows.values())
