"""A visit to a page: whatever goes wrong in the browser meanwhile fails the test, which leaves a picture of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Page: TypeAlias = Any
"""Playwright's `sync_api.Page`: the default suite collects these modules without having it."""

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 900}}


Profiles: TypeAlias = Callable[..., Any]
"""A Playwright context by its settings. Those who have the same share one: scripts are loaded and compiled once."""


@dataclass
class Visitor:
    """Opens pages that may load nothing but what `origin` serves. `pictures` takes those of failures."""

    profiles: Profiles
    origin: str
    pictures: Path
    complaints: list[str] = field(default_factory=list[str])

    @contextmanager
    def visit(
        self, address: str, expected: Sequence[str] = (), ignored: Sequence[str] = (), **how: Any
    ) -> Iterator[Page]:
        """A page at an address below `origin`; `how` is what its reader has (`DESK`).

        `expected` is what `watched` will have found, beside any number of those `ignored`.
        """
        page = self.profiles(**DESK | how).new_page()
        page.set_default_timeout(10_000)
        self.complaints = watched(page, self.origin)
        try:
            page.goto(self.origin + address)
            yield page
            assert [each for each in self.complaints if each not in ignored] == [*expected]
        except BaseException:
            page.screenshot(path=self.pictures / "failed.png")
            raise
        finally:
            page.close()


Visit: TypeAlias = Callable[..., Any]
"""`Visitor.visit`."""


def watched(page: Page, origin: str) -> list[str]:
    """Everything that a page should not do from now on: errors, refusals of its policy, dialogs, requests elsewhere."""
    found: list[str] = []

    def told(message: Any) -> None:
        if message.type in ("error", "warning"):
            found.append(f"console {message.type}: {message.text}")

    def dialog(it: Any) -> None:
        found.append(f"dialog: {it.message}")
        it.dismiss()

    def request(it: Any) -> None:
        if it.url != origin and not it.url.startswith((f"{origin}/", "data:", "blob:")):
            found.append(f"request: {it.url}")

    page.on("console", told)
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("dialog", dialog)
    page.on("request", request)
    page.on("popup", lambda it: found.append(f"popup: {it.url}"))
    return found


def until(page: Page, condition: str, seconds: float = 10) -> None:
    """Wait for a condition in JavaScript; asked from outside, as the page's policy forbids Playwright's own way."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        page.wait_for_timeout(50)


def is_too_wide(page: Page) -> bool:
    """Whether the page as a whole has to be scrolled sideways."""
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def tab_to(page: Page, selector: str, most: int = 80) -> list[str]:
    """Press Tab until the focus is on `selector`; says what it went through. Every stop has to be seen."""
    stops: list[str] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(_FOCUS)
        assert stop["seen"], f"the focus cannot be seen on {stop['name']}"
        stops.append(stop["name"])
        if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
            return stops
    raise AssertionError(f"no {selector} within {most} stops: {stops}")


_FOCUS = """() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  return {
    name: `${at.localName} ${(at.ariaLabel ?? at.textContent).trim().slice(0, 40)}`,
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.width > 0 && box.height > 0,
  };
}"""
