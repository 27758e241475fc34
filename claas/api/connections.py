"""Limits on connections: the time that a client may take, and their number."""

import asyncio
import errno
import logging
import os
import resource
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_log = logging.getLogger(__name__)

_READ_BYTES = 16 * 1024
"""Read at a time: a body in chunks of one byte each is thousands of events, between which others are served."""


class LimitedConnection(H11Protocol):
    """A connection that is closed if a request does not arrive in time, or if the client stops reading an answer.

    Where there are too many, the one whose request has been awaited longest makes room for the new one; where all are
    being answered, the new one is closed.
    """

    longest_s: ClassVar[Mapping[Any, float]] = {h11.IDLE: 10.0, h11.SEND_BODY: 60.0}
    """How long a client may take over the head of a request, and over its body."""

    stalled_s = 60.0
    """How long a client may stop reading an answer that is ready."""

    _awaited: Any = None
    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    @classmethod
    def most(cls) -> int:
        """How many connections there may be."""
        return most_connections()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        cast(Any, transport).max_size = _READ_BYTES
        self._watch_client()
        if len(self.connections) > self.most():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch_client()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_answer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _watch_client(self) -> None:
        """Limit the time for the part of a request that the client has to send now."""
        if self.conn.their_state is self._awaited:
            return
        self._awaited = self.conn.their_state
        if self._late is not None:
            self._late.cancel()
        limit_s = self.longest_s.get(self.conn.their_state)
        self._late = None if limit_s is None else self.loop.call_later(limit_s, self.transport.abort)

    def _watch_answer(self, left: int | None = None) -> None:
        """Close the connection once nothing was sent for too long; `left` bytes were waiting when it was last seen."""
        waiting = self.transport.get_write_buffer_size()
        if waiting == left:
            self.transport.abort()
        else:
            self._stalled = self.loop.call_later(self.stalled_s, self._watch_answer, waiting)

    def _make_room(self) -> None:
        others = cast("set[LimitedConnection]", self.connections) - {self}
        awaited = {one: one._late.when() for one in others if one._late is not None}
        closed = min(awaited, key=awaited.__getitem__, default=self)
        self.connections.discard(closed)
        closed.transport.abort()


_MOST = 1000
_SPARE_FILES = 32


@cache
def most_connections() -> int:
    """A thousand, or what the limit of open files leaves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, limit - len(os.listdir("/dev/fd")) - _SPARE_FILES))


_REMINDER_S = 60.0


def loop_exception_handler() -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """A handler of a loop's exceptions that says once a minute that no more files can be opened.

    asyncio reports that, with a traceback, for every connection that it cannot take, over and over.
    """
    said_at = -_REMINDER_S

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal said_at
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
        elif loop.time() - said_at >= _REMINDER_S:
            said_at = loop.time()
            _log.warning("no more files can be opened (ulimit -n); connections wait until others have ended")

    return handle
