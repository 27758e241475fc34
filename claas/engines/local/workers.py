"""Threads that answer requests, and the queue between them and those who ask."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from claas.core.errors import StackError


class Request(Protocol):
    """Something asked for, and where its answer will be."""

    @property
    def result(self) -> Future[Any]: ...


T = TypeVar("T", bound=Request)


class Inbox(Generic[T]):
    """Requests in order of arrival, put from any thread and each taken by one."""

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

    def take(self, most: int, *, wait: bool, among: int = 1) -> list[T] | None:
        """Up to `most` requests that have arrived; with `wait`, at least one. None once closed.

        Of what has arrived, the first of `among` threads that share it takes its share only.
        """
        with self._changed:
            while wait and not (self._closed or self._waiting):
                self._changed.wait()
            if self._closed:
                return None
            share = -(-len(self._waiting) // among)
            return [self._waiting.popleft() for _ in range(min(most, share))]

    def close(self) -> None:
        """Let nothing more be put or taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def left(self) -> list[T]:
        """Close, and return the requests that nobody will take."""
        self.close()
        with self._changed:
            return [self._waiting.popleft() for _ in range(len(self._waiting))]


class Workers(Generic[T]):
    """Threads, one for each of `serve`, which take requests from one inbox until it is closed.

    When one of them ends, of a bug or because all are to end, so do the others, and what still waits is failed.
    """

    def __init__(self, name: str, serve: Sequence[Callable[[Inbox[T]], None]]) -> None:
        self._inbox = Inbox[T]()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"{name}-{index}", daemon=True)
            for index, each in enumerate(serve)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, request: T) -> None:
        """Queue a request. Raises `StackError` once closed."""
        self._inbox.put(request)

    @property
    def waiting(self) -> int:
        """Requests that no thread has taken yet."""
        return len(self._inbox)

    @property
    def alive(self) -> bool:
        """Whether the threads run: not once closed, nor after a bug has ended one."""
        return all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Stop the threads; unfinished requests fail with `StackError`."""
        self._inbox.close()
        for thread in self._threads:
            thread.join()

    def _run(self, serve: Callable[[Inbox[T]], None]) -> None:
        try:
            serve(self._inbox)
        finally:
            fail(self._inbox.left())


def fail(requests: Iterable[Request], message: str = "the engine was closed", cause: Exception | None = None) -> None:
    """Tell those who still await the results of `requests` that there will be none."""
    for result in (request.result for request in requests):
        if not result.done() and result.set_running_or_notify_cancel():
            failure = StackError(message)
            failure.__cause__ = cause
            result.set_exception(failure)
