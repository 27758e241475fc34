"""One process at a time: a lock that goes with the process, however it ends."""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from claas.core.errors import Conflict

_LOOK_S = 0.05


@contextmanager
def locked(path: Path, taken: str) -> Generator[None, None, None]:
    """Hold the lock file `path`; `Conflict` with the message `taken` while another process does.

    An OSError says that the file cannot be made.
    """
    with path.open("a") as file:
        if not _taken(file, fcntl.LOCK_EX):
            time.sleep(_LOOK_S)  # it may just have been looked at
            if not _taken(file, fcntl.LOCK_EX):
                raise Conflict(taken)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path`; one that is not there, or cannot be read, is held by nobody."""
    try:
        with path.open("rb") as file:
            return not _taken(file, fcntl.LOCK_SH)
    except OSError:
        return False


def _taken(file: IO[str] | IO[bytes], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
