"""Calls bounded in time, whose failures say what became of them."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

import httpx
import tinker

from claas.core.errors import BadRequest, ClaasError, Conflict, Forbidden, NotFound, StackError
from claas.engines.tinker.names import KEY_VARIABLE

T = TypeVar("T")
_PROBE_S = 5.0
_SHOWN_CHARACTERS = 300


class BoundedCalls:
    """Bounds calls in time, and finds out why one was late: the SDK alone retries for minutes, silently."""

    def __init__(self, address: str, key: str, timeout_s: float) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._key = key
        self._warnings = _LastWarning()
        logger = logging.getLogger("tinker")
        logger.addHandler(self._warnings)
        logger.propagate = False  # it warns at every poll of a result that is not there yet

    def require_reachable(self) -> None:
        """Raise `StackError` where nothing answers at the address."""
        if not isinstance(reply := self._probe(), httpx.Response):
            raise StackError(f"Tinker cannot be reached at {self.address}: {_named(reply)}")

    async def within(self, what: str, work: Awaitable[T]) -> T:
        """`work`, or the error that says what became of it."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await work
        except TimeoutError:
            raise await asyncio.to_thread(self._late, what) from None
        except ClaasError:
            raise
        except Exception as error:  # the SDK is another's: what it may raise is nowhere said
            raise failure(what, error, self._key) from error

    def in_thread(self, what: str, work: Callable[[], T]) -> T:
        """`within`, for work that blocks; a thread that is late is left behind, and does not keep the process alive."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # whatever it is, who waits is told
                done.set_exception(error)

        threading.Thread(target=run, name="claas-tinker-open", daemon=True).start()
        try:
            return done.result(self.timeout_s)
        except TimeoutError:
            raise self._late(what) from None
        except ClaasError:
            raise
        except Exception as error:
            raise failure(what, error, self._key) from error

    def _late(self, what: str) -> ClaasError:
        late = f"Tinker did not finish {what} within {self.timeout_s:g} s"
        reply, warned = self._probe(), self._warnings.lately(self.timeout_s).replace(self._key, "[key]")
        if not isinstance(reply, httpx.Response):
            return StackError(
                f"{late}: it cannot be reached at {self.address} ({_named(reply)}); run the command again"
            )
        if "billing" in warned:
            return Forbidden(f"{late}: {warned}; add credit, then run the same command again")
        if reply.status_code >= 400:
            return of_status(what, reply.status_code, f"no result within {self.timeout_s:g} s")
        heard = f"; the last it let know: {warned}" if warned else ""
        return StackError(f"{late}, though it answers{heard}; run the same command again")

    def _probe(self) -> httpx.Response | httpx.HTTPError:
        try:
            return httpx.get(
                f"{self.address}/api/v1/get_server_capabilities", headers={"X-API-Key": self._key}, timeout=_PROBE_S
            )
        except httpx.HTTPError as error:
            return error


class _LastWarning(logging.Handler):
    """Remembers the last warning of the SDK, in which it explains why it waits."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._text = ""
        self._warned_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Remember the warning, in one line."""
        self._text, self._warned_at = " ".join(record.getMessage().split())[:300], time.monotonic()

    def lately(self, seconds: float) -> str:
        """The warning of the last `seconds`, and a minute more, as the SDK does not repeat itself within one; or ""."""
        return self._text if time.monotonic() - self._warned_at < seconds + 60.0 else ""


def _named(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def failure(what: str, error: Exception, key: str) -> ClaasError:
    """What `error` of the SDK at `what` means for the caller; the key is cut out of the service's message."""
    cause = error.__cause__
    if isinstance(error, ValueError) and isinstance(cause, tinker.APIStatusError):
        error = cause  # how the SDK wraps the failure of a result
    message = " ".join(str(error).split()).replace(key, "[key]")[:_SHOWN_CHARACTERS]
    if not isinstance(error, tinker.TinkerError | ValueError | RuntimeError | httpx.HTTPError):
        message = f"{type(error).__name__}: {message}"  # a bug there or here, whose message alone says little
    if isinstance(error, tinker.APIStatusError):
        return of_status(what, error.status_code, message)
    if isinstance(error, tinker.RequestFailedError) and error.category == "user":
        return BadRequest(f"Tinker refused {what}: {message}")
    if isinstance(error, tinker.APIConnectionError):
        return StackError(f"Tinker cannot be reached for {what}: {message}; run the same command again when it can")
    return StackError(f"Tinker failed at {what}: {message}; run the same command again")


def of_status(what: str, status: int, message: str) -> ClaasError:
    """What an HTTP status means."""
    if status == 401:
        return Forbidden(f"Tinker does not accept the key for {what} (HTTP 401); check {KEY_VARIABLE}")
    if status == 402:
        return Forbidden(
            f"Tinker asks for payment for {what} (HTTP 402): {message}; add credit, then run the command again"
        )
    if status == 403:
        return Forbidden(f"Tinker does not allow {what} with this key (HTTP 403): {message}")
    if status == 404:
        return NotFound(f"Tinker has not what {what} needs (HTTP 404): {message}; it was deleted there or has expired")
    if status == 409:
        return Conflict(f"Tinker reports a conflict at {what} (HTTP 409): {message}")
    if status == 429:
        return StackError(f"Tinker is limiting {what} (HTTP 429): {message}; wait, then run the same command again")
    if status >= 500:
        return StackError(f"Tinker failed at {what} (HTTP {status}): {message}; run the same command again")
    return BadRequest(f"Tinker refused {what} (HTTP {status}): {message}")
