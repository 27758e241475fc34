"""Every page for readers who see differently: axe's rules in both schemes, headings, names of charts and dialogs."""

import pytest

from tests.browser.shown_runs import GOLDEN, SEEDS, THREE, address
from tests.browser.plotted import scrolled_through
from tests.browser.visits import Page, Visit

pytestmark = pytest.mark.browser

PAGES = {
    "list": "/v1/eval",
    "run": address("/run", run=THREE),
    "step": address("/step", run=GOLDEN, preference="concise", updates=3),
    "baseline": address("/step", run=GOLDEN, preference="concise", metric="collapse/sample"),
    "compare": address("/compare", run=SEEDS),
    "feedback": "/v1/dashboard",
}


def violations(page: Page) -> list[str]:
    """Of WCAG 2 A and AA, and of axe's best practices: those that keep somebody from reading, and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("where", PAGES)
def test_nothing_stands_in_the_way(visit: Visit, where: str, scheme: str) -> None:
    with visit(PAGES[where], color_scheme=scheme) as page:
        page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
        if where in ("run", "compare"):
            scrolled_through(page)
        assert violations(page) == []
        assert page.locator("h1").count() == 1
        assert page.title().endswith("CLaaS")
        assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_drawer_is_a_dialog_with_a_name(visit: Visit, scheme: str) -> None:
    with visit(address("/run", run=GOLDEN), color_scheme=scheme) as page:
        page.get_by_role("link", name="after the last update").click()
        page.get_by_role("dialog", name="What one step said").get_by_role("heading", name="after update 3 of 3").wait_for()
        assert violations(page) == []
        assert page.locator("h1").count() == 1, "what is in the drawer has no main heading of its own"
        assert page.evaluate("document.getElementById('drawer').matches(':modal')")


def test_every_chart_is_told_in_words(visit: Visit) -> None:
    with visit(address("/run", run=THREE)) as page:
        scrolled_through(page)
        for plot in page.locator("[data-chart]").all():
            words = plot.get_attribute("aria-label")
            title = plot.evaluate("each => each.closest('figure').querySelector('h3').textContent")
            assert words.startswith(title)
            assert all(f"{name} " in words for name in ("concise", "identity", "no_emoji"))
            assert plot.locator("svg.main-svg:not([aria-hidden=true])").count() == 0
