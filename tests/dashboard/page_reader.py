"""A page as a browser would take it apart: its elements, what they say, and what is wrong with them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"meta", "input", "line", "polyline", "link", "br", "img"})

_ELEMENTS = """
html head meta title style body a header p nav ul li main h1 h2 h3 h4 section article div dl dt dd table caption thead
tbody tr th td span strong small code details summary progress time form label input select option button svg line
polyline figure figcaption bdi fieldset legend dialog noscript img script textarea pre
"""
_ATTRIBUTES = """
lang charset name content class href id tabindex aria-label aria-labelledby aria-current aria-sort aria-hidden role
scope colspan datetime max value action method type placeholder selected viewbox width height x1 x2 y1 y2 points
preserveaspectratio rel dir hidden alt src defer data-live data-running data-fold data-chart data-preference data-step
data-steps data-value download title data-name data-change data-run data-folder maxlength size
"""

KNOWN = frozenset(_ELEMENTS.split())
"""Every element that the pages are made of."""

ATTRIBUTES = frozenset(_ATTRIBUTES.split())
"""Every attribute that the pages use: no handler among them."""

_LOADED = {"script": "/v1/eval/assets/", "img": "/v1/eval/plot?"}


@dataclass
class Element:
    """One element; `text` is what it says, with what is inside it."""

    tag: str
    attributes: dict[str, str]
    ancestors: tuple["Element", ...]
    text: str = ""
    children: list["Element"] = field(default_factory=list["Element"])

    def inside(self, tag: str) -> bool:
        return any(each.tag == tag for each in self.ancestors)


class Page(HTMLParser):
    """All elements of a page in order; reading fails on a tag that is left open, or closed and never opened."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, tuple(self._open))
        assert len(element.attributes) == len(attrs), f"an attribute twice: {attrs}"
        self.elements.append(element)
        if self._open:
            self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1].tag not in ("script", "style"):
            for element in self._open:
                element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """The elements of a kind with these attributes; `class_` is one of an element's classes."""
        return [each for each in self.elements if each.tag == tag and _has(each, attributes)]

    def one(self, tag: str, **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        return " ".join(self.one("main").text.split())

    def links(self) -> list[str]:
        return [each.attributes["href"] for each in self.all("a")]

    def strange(self) -> list[str]:
        """Elements and attributes that no template of ours has, and what is loaded from elsewhere or runs in place."""
        return (
            [each.tag for each in self.elements if each.tag not in KNOWN]
            + [
                f"{each.tag} {name}={value}"
                for each in self.elements
                for name, value in each.attributes.items()
                if name not in ATTRIBUTES or (name == "src" and not value.startswith(_LOADED.get(each.tag, " ")))
            ]
            + [
                "a script in place"
                for each in self.all("script")
                if "src" not in each.attributes and each.attributes.get("type") != "application/json"
            ]
        )

    def barriers(self) -> list[str]:
        """What a reader without a mouse, or without eyes, could not find or understand."""
        return list(self._barriers())

    def _barriers(self) -> Iterator[str]:
        if len(self.all("h1")) != 1:
            yield f"{len(self.all('h1'))} h1"
        ids = [each.attributes["id"] for each in self.elements if "id" in each.attributes]
        yield from (f"id {each} twice" for each in {each for each in ids if ids.count(each) > 1})
        for each in self.elements:
            if each.tag == "th" and each.attributes.get("scope") not in ("col", "row"):
                yield f"th without scope: {each.text}"
            if each.tag in ("input", "select") and each.attributes.get("type") != "hidden" and not _labelled(each):
                yield f"{each.tag} without a label: {each.attributes}"
            scrolls = "scroll" in each.attributes.get("class", "").split()
            if scrolls and not (each.attributes.get("aria-label") and each.attributes.get("tabindex") == "0"):
                yield f"a region that scrolls without a name or focus: {each.attributes}"
            if each.attributes.get("aria-labelledby", "") not in ("", *ids):
                yield f"labelled by nothing: {each.attributes}"
            if each.tag in ("a", "button", "summary") and not each.text.strip():
                yield f"{each.tag} without text: {each.attributes}"
            if each.tag == "svg" and not (each.attributes.get("aria-label") or "aria-hidden" in each.attributes):
                yield "a drawing without words"
        yield from self._skipped_headings()

    def _skipped_headings(self) -> Iterator[str]:
        level = 0
        for each in self.elements:
            if each.tag in ("h1", "h2", "h3", "h4"):
                if int(each.tag[1]) > level + 1:
                    yield f"{each.tag} after h{level}: {each.text}"
                level = int(each.tag[1])


def rows(table: Element) -> list[list[str]]:
    """What each row of a table's body says, cell by cell."""
    found = [each for each in _within(table) if each.tag == "tr" and not each.inside("thead")]
    return [[" ".join(cell.text.split()) for cell in row.children if cell.tag in ("th", "td")] for row in found]


def _within(element: Element) -> Iterator[Element]:
    for each in element.children:
        yield each
        yield from _within(each)


def _labelled(element: Element) -> bool:
    return element.inside("label") or bool(element.attributes.get("aria-label"))


def _has(element: Element, wanted: dict[str, str]) -> bool:
    classes = element.attributes.get("class", "").split()
    return all(
        value in classes if name == "class_" else element.attributes.get(name.replace("_", "-")) == value
        for name, value in wanted.items()
    )
