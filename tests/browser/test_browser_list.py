"""The list of runs, driven: sorted, searched, filtered, paged, and two of them compared, by mouse and by keyboard."""

import pytest

from claas.results.labels import change_labels, read_labels
from tests.browser.shown_runs import GOLDEN, MANY, OF_MANY, SEEDS, address
from tests.browser.site import Site
from tests.browser.visits import PHONE, Page, Visit, is_too_wide, tab_to

pytestmark = pytest.mark.browser


def names(page: Page) -> list[str]:
    return page.locator(".list tbody th").all_inner_texts()


def follow(page: Page) -> None:
    """What Enter leads to."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_a_heading_sorts_and_sorts_back(visit: Visit) -> None:
    with visit("/v1/eval") as page:
        first = names(page)
        page.get_by_role("link", name="Run", exact=True).click()
        down = names(page)
        assert down == sorted(first, reverse=True)
        assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        page.locator("th[aria-sort] a").click()
        assert names(page) == sorted(first)
        for key in (
            "Model, what differs",
            "Verdict",
            "Preferences, held-out compliance",
            "Updates",
            "Tokens",
            "Time",
            "Started",
        ):
            page.get_by_role("link", name=key, exact=True).click()
            assert page.locator("th[aria-sort]").inner_text().startswith(key)
            assert sorted(names(page)) == sorted(first)


def test_what_is_searched_and_filtered_is_found(visit: Visit) -> None:
    with visit("/v1/eval") as page:
        page.get_by_label("Search").fill("NO_EMOJI")
        page.get_by_role("button", name="Show").click()
        assert names(page) == ["three"]
        page.get_by_label("Search").fill("")
        page.get_by_label("State").select_option("failed")
        page.get_by_role("button", name="Show").click()
        assert len(names(page)) == 1
        assert page.get_by_label("State").input_value() == "failed"
        page.get_by_label("State").select_option("running")
        page.get_by_role("button", name="Show").click()
        page.get_by_role("link", name="Show all").click()
        assert GOLDEN in names(page)


def test_a_long_list_is_read_page_by_page_and_back(visit: Visit, site: Site) -> None:
    with visit(address("", results_dir=site.results / MANY)) as page:
        page.get_by_text("yet to be read").wait_for(state="hidden")  # some are, on a busy machine
        first = names(page)
        assert len(first) == 50
        page.get_by_role("link", name="Next").click()
        assert page.get_by_text("Page 2 of 2").is_visible()
        assert len({*first, *names(page)}) == OF_MANY
        page.go_back()
        assert names(page) == first
        page.get_by_role("link", name=first[0]).click()
        assert page.locator("h1").inner_text().startswith(first[0])
        page.locator(".trail a").click()
        assert f"{OF_MANY} of {OF_MANY}" in page.locator(".lead").inner_text(), "still the same folder"


def test_two_selected_runs_are_compared(visit: Visit) -> None:
    with visit("/v1/eval") as page:
        for seed in SEEDS[:2]:
            page.get_by_label(f"Compare {seed}").check()
        page.get_by_role("button", name="Compare").click()
        assert page.locator("h1").inner_text() == "2 runs compared"


def test_one_run_is_not_compared(visit: Visit) -> None:
    with visit("/v1/eval") as page:
        button = page.locator("#compare")
        assert button.is_disabled()
        page.get_by_label(f"Compare {SEEDS[0]}").check()
        assert button.is_disabled()
        page.get_by_label(f"Compare {SEEDS[1]}").check()
        assert button.inner_text() == "Compare 2 runs"
        page.get_by_label(f"Compare {SEEDS[1]}").uncheck()
        assert button.is_disabled()


def test_ticked_runs_are_tagged_found_by_their_tag_and_untagged(visit: Visit, site: Site) -> None:
    with visit("/v1/eval") as page:
        for seed in SEEDS[:2]:
            page.get_by_label(f"Compare {seed}").check()
        page.locator("#tag").fill("sweep-a")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert read_labels(site.results / SEEDS[0]).tags == ("sweep-a",)
        page.get_by_role("link", name="sweep-a").first.click()
        assert sorted(names(page)) == sorted(f"{seed}\nsweep-a" for seed in SEEDS[:2])
        page.get_by_label(f"Compare {SEEDS[0]}").check()
        page.locator("#tag").fill("sweep-a")
        with page.expect_navigation():
            page.get_by_role("button", name="Take away").click()
        assert read_labels(site.results / SEEDS[0]).tags == ()
        assert read_labels(site.results / SEEDS[1]).tags == ("sweep-a",)
    change_labels(site.results / SEEDS[1], remove=["sweep-a"])


def test_a_run_is_archived_and_brought_back_and_its_note_is_set(visit: Visit, site: Site) -> None:
    with visit(address("/run", run=SEEDS[2])) as page:
        page.get_by_label("Note", exact=True).fill("left alone")
        with page.expect_navigation():
            page.get_by_role("button", name="Save", exact=True).click()
        with page.expect_navigation():
            page.get_by_role("button", name="Archive").click()
    with visit("/v1/eval") as page:
        assert SEEDS[2] not in names(page)
        page.locator("[name=archived]").select_option("true")
        page.get_by_role("button", name="Show").click()
        assert names(page) == [f"{SEEDS[2]}\nleft alone"]
        page.get_by_label(f"Compare {SEEDS[2]}").check()
        with page.expect_navigation():
            page.get_by_role("button", name="Bring back").click()
    assert read_labels(site.results / SEEDS[2]).archived is False
    change_labels(site.results / SEEDS[2], note="")


def test_without_a_mouse(visit: Visit) -> None:
    with visit("/v1/eval") as page:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main", "the first stop skips the navigation"
        tab_to(page, "input[type=search]")
        page.keyboard.type("checkpoints=[0, 1, 2, 3]")
        follow(page)
        assert sorted(names(page)) == sorted(SEEDS)
        tab_to(page, "thead th a")
        follow(page)
        assert names(page) == sorted(SEEDS, reverse=True)
        for seed in SEEDS[:0:-1]:
            tab_to(page, f"[aria-label='Compare {seed}']")
            page.keyboard.press("Space")
        tab_to(page, "p > button")
        follow(page)
        assert page.locator("h1").inner_text() == "2 runs compared"


def test_on_a_phone(visit: Visit, site: Site) -> None:
    for where in ("/v1/eval", address("", results_dir=site.results / MANY)):
        with visit(where, **PHONE) as page:
            assert not is_too_wide(page)
            page.locator(".list tbody th a").last.tap()
            page.locator("h1").wait_for()
            assert not is_too_wide(page)
