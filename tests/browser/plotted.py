"""What the charts of a page show, read from what was drawn, and what the page says that they should."""

from typing import Any

from tests.browser.visits import Page


def scrolled_through(page: Page) -> None:
    """Bring every chart into view, folded ones too, until each is drawn."""
    page.evaluate(_SCROLL)


def given(page: Page) -> dict[str, Any]:
    """The data in the page, by chart."""
    return page.evaluate("JSON.parse(document.getElementById('charts-data').textContent)")


def points_drawn(page: Page) -> dict[str, int]:
    """Markers by chart."""
    return page.evaluate(_POINTS)


def points_given(page: Page) -> dict[str, int]:
    """Values with a marker, and lost ones with a cross, by chart."""
    return {
        name: sum(height is not None for trace in chart["data"] if "marker" in trace for height in trace["y"])
        for name, chart in given(page)["charts"].items()
    }


def lines_drawn(page: Page) -> dict[str, list[str]]:
    """The colours of the lines in each chart, in order; bands left out."""
    return page.evaluate(_LINES)


def numbers_told(page: Page) -> dict[str, dict[int, list[str]]]:
    """The tables of numbers: by title and number of updates, the cells."""
    found = page.evaluate(_NUMBERS)
    return {title: {int(at): cells for at, cells in rows.items()} for title, rows in found.items()}


_SCROLL = """async () => {
  for (const each of document.querySelectorAll(".group")) each.open = true;
  const plots = [...document.querySelectorAll("[data-chart]")];
  for (const plot of plots) {
    plot.scrollIntoView({ block: "center" });
    const isDrawn = () => plot.querySelector(".main-svg") !== null;
    for (let frame = 0; frame < 200 && !isDrawn(); frame++) await new Promise(requestAnimationFrame);
  }
  scrollTo(0, 0);
}"""

_POINTS = """() => Object.fromEntries([...document.querySelectorAll("[data-chart]")].map((plot) =>
  [plot.dataset.chart, plot.querySelectorAll(".points path").length]))"""

_LINES = """() => Object.fromEntries([...document.querySelectorAll("[data-chart]")].map((plot) =>
  [plot.dataset.chart, [...plot.querySelectorAll("[class*='tracevalue-']")]
    .map((trace) => getComputedStyle(trace.querySelector(".lines path")).stroke)]))"""

_NUMBERS = """() => Object.fromEntries([...document.querySelectorAll("table.grid")].map((table) =>
  [table.caption.firstChild.textContent.trim(), Object.fromEntries([...table.tBodies[0].rows].map((row) =>
    [row.cells[0].textContent, [...row.cells].slice(1).map((cell) => cell.textContent)]))]))"""
