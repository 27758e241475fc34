"""One browser and one API for all tests, and runs for them to show."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import launched
from tests.browser.shown_runs import write_runs
from tests.browser.site import Site
from tests.browser.visits import Visit, Visitor


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("api"))
    write_runs(site.results)
    site.start()
    yield site
    site.stop()


@pytest.fixture
def visit(browser: Any, site: Site, tmp_path: Path) -> Visit:
    """Opens a page of `site`, and closes it at the end of a `with`."""
    return Visitor(browser, site.url, tmp_path).visit
