"""A shared folder, opened from the disk: its list, a comparison and a run's transcripts, without a server."""

from pathlib import Path

import pytest

from claas.dashboard.bundle import write_bundle
from tests.browser.plotted import scrolled_through
from tests.browser.shown_runs import GOLDEN, SEEDS
from tests.browser.site import Site
from tests.browser.test_browser_access import COLOURS, violations
from tests.browser.visits import PHONE, Profiles, Visit, Visitor, is_too_wide

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shared(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("shared") / "site"
    write_bundle([site.results / name for name in (*SEEDS[:2], GOLDEN)], into)
    return into


@pytest.fixture
def open_file(profiles: Profiles, shared: Path, tmp_path: Path) -> Visit:
    """Opens a page of the folder from the disk."""
    return Visitor(profiles, f"file://{shared}", tmp_path).visit


def test_ticked_runs_are_compared_and_transcripts_read(open_file: Visit) -> None:
    with open_file("/index.html") as page:
        for seed in SEEDS[:2]:
            page.get_by_label(f"Compare {seed}").check()
        page.get_by_role("button", name="Compare 2 runs").click()
        assert page.locator("h1").inner_text() == "2 runs compared"
        scrolled_through(page)
        assert page.locator("svg.main-svg").count() > 0
        page.get_by_role("link", name=SEEDS[0]).click()
        page.get_by_role("link", name="after the last update").click()
        page.get_by_role("dialog").get_by_text("after update 4 of 4").wait_for()


def test_the_list_is_searched_and_sorted(open_file: Visit) -> None:
    with open_file("/index.html") as page:
        page.get_by_label("Search").fill(f"{SEEDS[0]} learning_rate=")
        assert page.locator("tbody tr:visible th").all_inner_texts() == [SEEDS[0]]
        page.get_by_label("Search").fill("")
        page.get_by_role("button", name="Run", exact=True).click()
        names = page.locator("tbody th").all_inner_texts()
        assert names == sorted(names, reverse=page.locator("th[aria-sort=descending]").count() == 1)


@pytest.mark.parametrize("where", ["/index.html", f"/run/{GOLDEN}.html", "/compare/all.html"])
def test_nothing_stands_in_the_way(open_file: Visit, where: str) -> None:
    with open_file(where) as page:
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        assert violations(page, COLOURS) == []
    with open_file(where, **PHONE) as page:
        assert not is_too_wide(page)


@pytest.mark.parametrize("kind", ["SVG", "PNG"])
def test_a_chart_is_saved(visit: Visit, kind: str) -> None:
    with visit(f"/v1/eval/run?run={GOLDEN}") as page:
        page.locator("[data-chart]").first.scroll_into_view_if_needed()
        page.locator(".modebar").first.wait_for(state="attached")
        with page.expect_download() as saved:
            page.locator(f"[data-title='Save as {kind}']").first.dispatch_event("click")
        written = Path(saved.value.path()).read_bytes()
        assert saved.value.suggested_filename.startswith(GOLDEN)
        assert (b"<svg" if kind == "SVG" else b"\x89PNG") in written[:200]


def test_a_table_is_saved_as_it_is_read(visit: Visit) -> None:
    with visit(f"/v1/eval/run?run={GOLDEN}") as page:
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save as CSV: Criteria of concise").click()
        lines = Path(saved.value.path()).read_text(encoding="utf-8-sig").splitlines()
        assert lines[0].startswith("Criterion,Verdict,Value,95 % interval,")
        assert len(lines) == 1 + page.locator("table.criteria tbody tr").count()
