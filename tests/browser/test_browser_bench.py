"""Benchmark runs side by side, driven: sorted, opened item by item, and as a file without a server."""

from pathlib import Path

import pytest

from claas.dashboard.cohort_page import cohort_file
from tests.browser.hostile import NASTY
from tests.browser.shown_runs import BENCH
from tests.browser.visits import PHONE, Page, Profiles, Visit, Visitor, is_too_wide, tab_to
from tests.dashboard.test_cohort import HALF, WORSE, write

pytestmark = pytest.mark.browser


def models(page: Page) -> list[str]:
    """Of the first table, from the top."""
    return [each.split()[0] for each in page.locator(".scores").first.locator("tbody th").all_inner_texts()]


def sorted_by(page: Page) -> tuple[str, str | None]:
    heading = page.locator(".scores").first.locator("th[aria-sort]")
    return heading.inner_text().split()[0], heading.get_attribute("aria-sort")


@pytest.fixture
def file(profiles: Profiles, tmp_path: Path) -> Visit:
    """The cohort as a file, opened by a browser that is offline."""
    root = tmp_path / "results"
    write(root, "base", {"mmlu": HALF, "gsm8k": HALF})
    write(root, "a", {"mmlu": WORSE, "gsm8k": [1.0] * 100}, when=2, method=NASTY)
    write(root, "b", {"gsm8k": WORSE}, when=3)
    made = tmp_path / "cohort.html"
    made.write_text(cohort_file(root), encoding="utf-8")
    return Visitor(profiles, made.as_uri(), tmp_path).visit


def test_a_heading_sorts_and_sorts_back(visit: Visit) -> None:
    with visit(BENCH) as page:
        assert sorted_by(page) == ("Run,", "descending")
        page.get_by_role("link", name="mmlu", exact=True).first.click()
        assert (models(page), sorted_by(page)) == (["claas-tiny", "sft@1"], ("mmlu", "descending"))
        page.locator("th[aria-sort] a").first.click()
        assert (models(page), sorted_by(page)) == (["sft@1", "claas-tiny"], ("mmlu", "ascending"))


def test_a_value_opens_its_items_over_the_table_and_going_back_closes_them(visit: Visit) -> None:
    with visit(BENCH) as page:
        tab_to(page, "a.value")
        page.keyboard.press("Enter")
        inside = page.get_by_role("dialog", name="The items of one task")
        inside.get_by_role("heading", name="mmlu sft@1").wait_for()
        assert inside.locator(".transcript .mark").first.inner_text() == "1 → 0"
        inside.get_by_label("Show").get_by_role("link", name="same").click()
        inside.locator("[aria-current]", has_text="same").wait_for()
        inside.get_by_role("link", name="Next").click()
        inside.get_by_text("Page 2 of 3").wait_for()
        page.go_back()
        inside.wait_for(state="hidden")
        assert page.evaluate("location.pathname") == BENCH


def test_a_file_is_sorted_by_mouse_and_by_keyboard(file: Visit) -> None:
    with file("", offline=True) as page:
        assert (models(page), sorted_by(page)) == (["b@1", "a@1", "claas-tiny"], ("Run,", "descending"))
        page.get_by_role("button", name="mmlu").click()
        assert (models(page), sorted_by(page)) == (["claas-tiny", "a@1", "b@1"], ("mmlu", "descending"))
        page.keyboard.press("Enter")
        assert (models(page), sorted_by(page)) == (["a@1", "claas-tiny", "b@1"], ("mmlu", "ascending"))
        page.get_by_role("button", name="Model").click()
        assert (models(page), sorted_by(page)) == (["a@1", "b@1", "claas-tiny"], ("Model", "ascending"))
        page.get_by_role("button", name="Average").click()
        assert models(page) == ["a@1", "claas-tiny", "b@1"]


def test_a_file_opens_its_items_and_is_kept_as_csv(file: Visit) -> None:
    with file("", offline=True) as page:
        page.get_by_role("link", name="items of mmlu, a@1").click()
        inside = page.get_by_role("dialog", name="The items of one task")
        inside.get_by_role("heading", name="mmlu a@1").wait_for()
        assert inside.locator(".transcript").count() == 20
        assert inside.get_by_text("The first 20 of 100 items").is_visible()
        page.keyboard.press("Escape")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download as CSV").click()
        assert Path(download.value.path()).read_text(encoding="utf-8").startswith("table,run,base_model")
        assert download.value.suggested_filename == "cohort.csv"


@pytest.mark.parametrize("address", [BENCH, f"{BENCH}/items?run=sft&task=mmlu"])
def test_on_a_phone_only_tables_are_wider_than_the_screen(visit: Visit, address: str) -> None:
    with visit(address, **PHONE) as page:
        assert not is_too_wide(page)


def test_a_file_fits_a_phone(file: Visit) -> None:
    with file("", offline=True, **PHONE) as page:
        assert not is_too_wide(page)
