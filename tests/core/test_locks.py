"""One process at a time."""

from pathlib import Path

import pytest

from claas.core.errors import Conflict
from claas.core.files import is_locked, locked


def test_a_held_lock_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, "first"):
        second = locked(path, "somebody works here")
        with pytest.raises(Conflict, match="somebody works here"):
            second.__enter__()
    with locked(path, "somebody works here"):
        pass


def test_looking_at_a_lock_does_not_keep_others_from_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    assert not path.exists(), "looking makes no file"
    with locked(path, "taken"):
        assert is_locked(path), "the lock is held by another opening of the file"
    assert not is_locked(path)
    with locked(path, "taken"):
        pass
    path.unlink()
    path.mkdir()
    assert not is_locked(path)
