"""Every page for readers who see differently: axe's rules in both schemes, headings, names of charts and dialogs."""

from typing import Any

import pytest

from tests.browser.plotted import scrolled_through
from tests.browser.shown_runs import BENCH, GOLDEN, SEEDS, THREE, address
from tests.browser.visits import Page, Visit

pytestmark = pytest.mark.browser

COLOURS = {"runOnly": ["color-contrast"]}
"""The one rule that depends on the scheme."""

PAGES = {
    "list": "/v1/eval",
    "run": address("/run", run=THREE),
    "step": address("/step", run=GOLDEN, preference="concise", updates=3),
    "baseline": address("/step", run=GOLDEN, preference="concise", metric="collapse/sample"),
    "compare": address("/compare", run=SEEDS),
    "feedback": "/v1/dashboard",
    "chat": "/v1/chat?alias=untaught",
    "benchmarks": BENCH,
    "benchmark items": f"{BENCH}/items?run=sft&task=mmlu",
}


def violations(page: Page, options: dict[str, Any] | None = None) -> list[str]:
    """What breaks WCAG 2 A or AA, or axe's best practices, so that somebody cannot read the page; and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    said = axe.run(page, options=options).response
    assert said["passes"], "it has looked"
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
        for each in said["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("where", PAGES)
def test_nothing_stands_in_the_way(visit: Visit, where: str) -> None:
    with visit(PAGES[where]) as page:
        page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
        if where in ("run", "compare"):
            scrolled_through(page)
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        assert violations(page, COLOURS) == []
        assert page.locator("h1").count() == 1
        assert page.title().endswith("CLaaS")
        assert page.evaluate("document.documentElement.lang") == "en"


def test_the_drawer_is_a_dialog_with_a_name(visit: Visit) -> None:
    with visit(address("/run", run=GOLDEN)) as page:
        page.get_by_role("link", name="after the last update").click()
        inside = page.get_by_role("dialog", name="What one step said")
        inside.get_by_role("heading", name="after update 3 of 3").wait_for()
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        assert violations(page, COLOURS) == []
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
