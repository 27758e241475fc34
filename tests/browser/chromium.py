"""The browser that the tests drive: the machine's own Chromium, else the one that Playwright has fetched."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_INSTALL = "pip install -c constraints.txt -e '.[local,dev,browser]'"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def launched() -> Iterator[Any]:
    """A browser; the test fails with what to install where there is none."""
    try:
        from playwright.sync_api import Error, sync_playwright  # of the extra `browser`, which the default suite lacks
    except ImportError:
        pytest.fail(f"Playwright is not installed; install it with: {_INSTALL}", pytrace=False)
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has none for root
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=sandbox)
        except Error as error:
            where = found or "Playwright's own Chromium"
            said = str(error).strip().splitlines()[0]
            pytest.fail(
                f"cannot start {where}: {said}; install Debian's with `apt install chromium`, or Playwright's with "
                "`python -m playwright install chromium`",
                pytrace=False,
            )
        try:
            yield browser
        finally:
            browser.close()
