"""One run that nothing disturbs, for all others to be compared with."""

import pytest

from tests.faults.small_run import SmallRun, make


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Made once for all tests."""
    pytest.importorskip("torch")
    return make(tmp_path_factory.mktemp("unbroken"))
