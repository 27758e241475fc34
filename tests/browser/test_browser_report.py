"""`report.html` opened from disk by a browser that is offline: charts, transcripts, and it without scripts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claas.dashboard.report import write_report
from tests.browser.plotted import lines_drawn, numbers_told, points_drawn, points_given, scrolled_through
from tests.browser.shown_runs import GOLDEN
from tests.browser.site import Site
from tests.browser.visits import Page, Profiles, Visitor, is_too_wide
from tests.dashboard.written_runs import few, write_run

pytestmark = pytest.mark.browser


@contextmanager
def opened(profiles: Profiles, report: Path, tmp_path: Path, **how: Any) -> Iterator[Page]:
    """The file in a browser without a network; a request for anything but the file fails the test."""
    visitor = Visitor(profiles, report.as_uri(), tmp_path)
    with visitor.visit("", offline=True, **how) as page:
        yield page


@pytest.fixture(scope="module")
def golden(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(site.results / GOLDEN).rename(tmp_path_factory.mktemp("elsewhere") / "report.html")


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with more steps than a report holds."""
    run = tmp_path_factory.mktemp("long") / "run"
    write_run(run, {"concise": few(steps=12), "identity": few("identity", steps=12)})
    return write_report(run)


def test_it_has_its_charts_and_numbers(profiles: Profiles, golden: Path, tmp_path: Path) -> None:
    assert golden.stat().st_size < 15e6
    with opened(profiles, golden, tmp_path) as page:
        scrolled_through(page)
        assert points_drawn(page) == points_given(page)
        assert {len(lines) for lines in lines_drawn(page).values()} == {1}
        assert len(numbers_told(page)) == len(points_drawn(page))


def test_its_transcripts_open_in_the_drawer(profiles: Profiles, golden: Path, tmp_path: Path) -> None:
    with opened(profiles, golden, tmp_path) as page:
        link = page.get_by_role("link", name="after the last update")
        link.click()
        inside = page.get_by_role("dialog", name="What one step said")
        inside.get_by_role("heading", name="concise after update 3 of 3").wait_for()
        assert inside.get_by_role("link", name="Open as a page").count() == 0
        inside.get_by_label("What was measured").get_by_role("link", name="compliance/heldout").click()
        inside.locator("[aria-current]", has_text="compliance/heldout").wait_for()
        flipped = inside.locator(".transcript").count()
        inside.get_by_label("Show").get_by_role("link", name="all").click()
        inside.locator("[aria-label=Show] [aria-current]", has_text="all").wait_for()
        shown = int(inside.locator("[aria-label='What was measured'] [aria-current] small").inner_text())
        assert inside.locator(".transcript").count() == shown
        inside.get_by_role("link", name="flipped since baseline").click()
        inside.locator("[aria-current]", has_text="flipped since baseline").wait_for()
        assert 0 < inside.locator(".transcript").count() == flipped < shown
        page.keyboard.press("Escape")
        page.wait_for_timeout(100)
        assert page.evaluate("document.activeElement.textContent") == "after the last update"


def test_what_it_does_not_hold_is_no_link(profiles: Profiles, long_run: Path, tmp_path: Path) -> None:
    with opened(profiles, long_run, tmp_path) as page:
        linked = set(
            page.locator("#steps a[data-preference=concise]").evaluate_all("all => all.map((a) => a.dataset.step)")
        )
        assert {"0", "12"} < linked < {str(updates) for updates in range(13)}
        assert page.get_by_text(f"holds the transcripts of {2 * len(linked)} of 26 measurements").is_visible()
        assert page.evaluate(_DEAD_LINKS) == []


def test_every_link_leads_somewhere(profiles: Profiles, golden: Path, tmp_path: Path) -> None:
    with opened(profiles, golden, tmp_path) as page:
        assert page.evaluate(_DEAD_LINKS) == []
        assert page.evaluate("document.querySelectorAll('script[type=\"text/plain\"]').length") > 10


def test_without_scripts_it_has_pictures_tables_and_a_note(
    profiles: Profiles, site: Site, golden: Path, tmp_path: Path
) -> None:
    with opened(profiles, golden, tmp_path, java_script_enabled=False) as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        pictures = page.locator("noscript img")
        assert pictures.count() == len(list((site.results / GOLDEN / "plots").glob("*.png"))) > 3
        for picture in pictures.all():
            assert picture.evaluate("each => each.complete && each.naturalWidth > 300")
        assert page.locator(".plot:visible").count() == 0
        assert page.locator("noscript .note").is_visible(), "it says that transcripts need JavaScript"
        assert page.locator(".numbers table").first.is_visible()
        assert page.get_by_role("region", name="Criteria of concise").is_visible()


def test_on_a_phone(profiles: Profiles, golden: Path, tmp_path: Path) -> None:
    with opened(profiles, golden, tmp_path, viewport={"width": 360, "height": 740}) as page:
        scrolled_through(page)
        assert not is_too_wide(page)
        page.get_by_role("link", name="before any feedback").click()
        page.get_by_role("heading", name="concise at baseline").wait_for()
        assert page.evaluate("document.getElementById('drawer').scrollWidth <= 360")


_DEAD_LINKS = """async () => {
  const ids = new Set([...document.querySelectorAll("[id]")].map((each) => each.id)), dead = [];
  const look = (root, where) => {
    for (const link of root.querySelectorAll("a[href]")) {
      const address = link.getAttribute("href");
      const place = address.slice(1).split("#")[0];
      if (!address.startsWith("#") || !ids.has(place)) dead.push(`${where}: ${address}`);
    }
  };
  look(document, "page");
  for (const held of document.querySelectorAll("script[type='text/plain']")) {
    const bytes = Uint8Array.from(atob(held.textContent.trim()), (letter) => letter.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    look(new DOMParser().parseFromString(text, "text/html"), held.id);
  }
  return dead;
}"""
