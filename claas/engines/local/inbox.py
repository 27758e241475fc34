"""The queue between those who ask and the one thread that answers."""

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from claas.core.errors import StackError

T = TypeVar("T")


class Inbox(Generic[T]):
    """Requests in order of arrival, put from any thread and taken by one."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, request: T) -> None:
        """Queue a request. Raises `StackError` once closed."""
        with self._changed:
            if self._closed:
                raise StackError("the engine is closed")
            self._waiting.append(request)
            self._changed.notify()

    def take(self, most: int, *, wait: bool) -> list[T] | None:
        """Up to `most` requests that have arrived; with `wait`, at least one. None once closed."""
        with self._changed:
            while wait and not (self._closed or self._waiting):
                self._changed.wait()
            if self._closed:
                return None
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def close(self) -> None:
        """Let nothing more be put or taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def left(self) -> list[T]:
        """Close, and return the requests that nobody will take."""
        self.close()
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


def fail(results: Iterable[Future[Any]], message: str, cause: Exception | None = None) -> None:
    """Tell those who still await `results` that there will be none."""
    for result in results:
        if not result.done() and result.set_running_or_notify_cancel():
            failure = StackError(message)
            failure.__cause__ = cause
            result.set_exception(failure)
