"""One browser and one API for all tests, and runs for them to show."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import launched
from tests.browser.shown_runs import write_runs
from tests.browser.site import Site
from tests.browser.visits import Profiles, Visit, Visitor


@pytest.fixture(scope="session")
def profiles() -> Iterator[Profiles]:
    made: dict[str, Any] = {}
    with launched() as browser:

        def profile(**how: Any) -> Any:
            key = repr(sorted(how.items()))
            if key not in made:
                made[key] = browser.new_context(**how)
            return made[key]

        yield profile


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("api"))
    write_runs(site.results)
    site.start()
    yield site
    site.stop()


@pytest.fixture
def visit(profiles: Profiles, site: Site, tmp_path: Path) -> Visit:
    """Opens a page of `site`, and closes it at the end of a `with`."""
    return Visitor(profiles, site.url, tmp_path).visit
