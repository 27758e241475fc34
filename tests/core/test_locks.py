"""One process at a time."""

from pathlib import Path

import pytest

from claas.core.errors import Conflict
from claas.core.locks import locked


def test_a_held_lock_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, "first"):
        second = locked(path, "somebody works here")
        with pytest.raises(Conflict, match="somebody works here"):
            second.__enter__()
    with locked(path, "somebody works here"):
        pass
