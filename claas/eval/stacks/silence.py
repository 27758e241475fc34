"""Who is waited for: said of a server that has not replied for a while."""

import asyncio
import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

_log = logging.getLogger(__name__)


class Silence:
    """Logs a warning when requests are waiting and no reply has come for `after_s`, and each time that has doubled.

    It stays doubled for the next silence: a server that is known to take its time is not remarked upon at each request.
    """

    def __init__(self, name: str, after_s: float = 10.0) -> None:
        self._name, self._after_s = name, after_s
        self._waiting: Counter[str] = Counter()
        self._since = 0.0
        self._failure: str | None = None
        self._is_watched = False

    @contextmanager
    def until_reply(self, path: str) -> Generator[None]:
        """A request to `path` waits for its reply inside."""
        if not self._is_watched:
            loop = asyncio.get_running_loop()
            self._since, self._is_watched = loop.time(), True
            loop.call_later(self._after_s, self._look)
        self._waiting[path] += 1
        try:
            yield
        finally:
            self._waiting[path] -= 1

    def failed(self, failure: str) -> None:
        """A try failed, and the request goes on waiting."""
        self._failure = failure

    def broken(self) -> None:
        """A reply has come."""
        self._since, self._failure = asyncio.get_running_loop().time(), None

    def _look(self) -> None:
        """Say what is waited for, if it is time; and look again, unless nobody waits."""
        loop, paths = asyncio.get_running_loop(), +self._waiting
        if not paths:
            self._is_watched = False
            return
        silent_s = loop.time() - self._since
        if silent_s >= self._after_s:
            waiting = ", ".join(f"{count} of {path}" for path, count in paths.items())
            failed = f"; the last try failed: {self._failure}" if self._failure else ""
            _log.warning("waiting for %s, silent for %.0f s (%s)%s", self._name, silent_s, waiting, failed)
            self._after_s *= 2
        loop.call_later(max(self._since + self._after_s - loop.time(), 0.0), self._look)
