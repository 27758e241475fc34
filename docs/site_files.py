"""What MkDocs cannot do by itself: pages and files of the project that lie outside of docs/.

The README is the site's first page, CONTRIBUTING and CHANGELOG are pages, and any other file that a page links to is
served beside them as text. A link to a folder becomes its name.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add what is linked to, and what that links to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    pages = [file for file in files if file.is_documentation_page()]
    while pages:
        page = pages.pop()
        for link in LINK.finditer(page.content_string):
            path = place(link["path"], page.src_uri)
            served = served_as(path)
            if (ROOT / path).is_file() and files.get_file_from_path(served) is None:
                files.append(File.generated(config, served, abs_src_path=str(ROOT / path)))
                if served.endswith(".md"):
                    pages.append(files.get_file_from_path(served))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead every link within the project to where the site has it."""

    def led(link: re.Match[str]) -> str:
        path = place(link["path"], page.file.src_uri)
        if (ROOT / path).is_dir():
            return link["text"][1:-1]
        if not (ROOT / path).is_file():
            return link[0]  # MkDocs says that it leads nowhere
        return f"{link['text']}({relpath(served_as(path), dirname(page.file.src_uri) or '.')}{link['anchor'] or ''})"

    return LINK.sub(led, markdown)


def place(link: str, page: str) -> str:
    """Where in the project a link of that page of the site leads."""
    written = next((name for name, served in PAGES.items() if served == page), None)
    written = written or page.removeprefix("project/") if written or page.startswith("project/") else f"docs/{page}"
    return normpath(join(dirname(written), link))


def served_as(path: str) -> str:
    """What a file of the project is called in the site."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"project/{path}" if Path(path).suffix in {".md", ".png"} else f"project/{path}.txt"
