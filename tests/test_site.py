"""The docs as a site: every page in its menu, and a build without a warning that loads nothing from elsewhere."""

import re
import socket
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FROM_ELSEWHERE = ("index.md", "contributing.md", "changelog.md")  # docs/site_files.py adds these


def pages_of(menu: Any) -> Iterator[str]:
    """The files that a menu names."""
    if isinstance(menu, str):
        yield menu
    for part in menu.values() if isinstance(menu, dict) else menu if isinstance(menu, list) else ():
        yield from pages_of(part)


def test_every_page_stands_in_the_menu_once() -> None:
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    left_out = set(site["exclude_docs"].split())
    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - left_out
    assert sorted(pages_of(site["nav"])) == sorted(there | set(FROM_ELSEWHERE))


class _Loaded(HTMLParser):
    """What a page makes a browser load; where its links lead is no part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"src", "srcset", "data", "poster"} | ({"href"} if tag in {"link", "image", "use"} else set())
        self.found += [value for name, value in attrs if name in names and value]


def loaded_by(html: str) -> list[str]:
    page = _Loaded()
    page.feed(html)
    return page.found


def elsewhere(addresses: list[str]) -> list[str]:
    return [address for address in addresses if re.match(r"(?:[a-z]+:)?//", address)]


def test_what_a_page_loads_from_another_host_is_found() -> None:
    page = "<script src=//a.b/c></script><link href=https://a.b/d><img src=e.png><a href=https://a.b/f></a>"
    assert elsewhere(loaded_by(page)) == ["//a.b/c", "https://a.b/d"]


@pytest.mark.docs
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    def refused(*_: Any) -> NoReturn:
        raise AssertionError("a build asks nobody")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.chdir(ROOT)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)  # in strict mode a warning ends it
    pages = {page: page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")}
    assert {"index.html", "usage.html", "contributing.html"} <= {page.name for page in pages}
    assert 'id="claas.eval.runner.run_harness"' in pages[tmp_path / "api" / "eval.html"]
    assert {str(page): found for page, html in pages.items() if (found := elsewhere(loaded_by(html)))} == {}
    sheets = [sheet.read_text(encoding="utf-8") for sheet in tmp_path.rglob("*.css")]
    assert [
        found for sheet in sheets for found in re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*", sheet)
    ] == []
