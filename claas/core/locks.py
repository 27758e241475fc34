"""One process at a time: a lock that goes with the process, however it ends."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from claas.core.errors import Conflict


@contextmanager
def locked(path: Path, taken: str) -> Generator[None, None, None]:
    """Hold the lock file `path`; `Conflict` with the message `taken` while another process does.

    An OSError says that the file cannot be made.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(taken) from None
        yield
