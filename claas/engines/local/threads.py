"""The compute threads: their job queues, the batches that rows join and leave, and streamed text."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch

from claas.core.errors import ClaasError, StackError
from claas.core.text import PART_OF_A_CHARACTER, one_line
from claas.engines.local.decode import DecodeJob, Decoder
from claas.engines.text import ChatFormat, cut
from claas.engines.types import OnPiece, Piece
from claas.engines.versioned import SampledIds

_log = logging.getLogger(__name__)


class QueuedJob(Protocol):
    """Work for a thread, and where its result will be."""

    @property
    def result(self) -> Future[Any]: ...


T = TypeVar("T", bound=QueuedJob)


class Inbox(Generic[T]):
    """Jobs in order of arrival, put from any thread and each taken by one. Once closed, it says for what reason.

    Those that are urgent stand in a line of their own.
    """

    def __init__(self) -> None:
        self.reason = "the engine is closed"
        self._waiting: deque[T] = deque()
        self._urgent: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._urgent)

    def put(self, job: T, *, urgent: bool = False) -> None:
        """Queue a job. Raises `StackError` once closed."""
        with self._changed:
            if self._closed:
                raise StackError(self.reason)
            (self._urgent if urgent else self._waiting).append(job)
            self._changed.notify()

    def take(self, most: int, *, wait: bool, among: int = 1, most_urgent: int = 0) -> list[T] | None:
        """Up to `most` jobs that have arrived, or up to `most_urgent` urgent ones; with `wait`, at least one.

        None once closed. Of what has arrived, the first of `among` threads that share it takes its share only.
        """
        with self._changed:
            while wait and not (self._closed or self._waiting or self._urgent):
                self._changed.wait()
            if self._closed:
                return None
            if self._urgent and most_urgent:
                return [self._urgent.popleft() for _ in range(min(most_urgent, len(self._urgent)))]
            share = -(-len(self._waiting) // among)
            return [self._waiting.popleft() for _ in range(min(most, share))]

    def close(self, reason: str | None = None) -> None:
        """Accept and hand out no more jobs. The first reason given stays."""
        with self._changed:
            if reason is not None and not self._closed:
                self.reason = reason
            self._closed = True
            self._changed.notify_all()

    def left(self) -> list[T]:
        """The jobs that nobody will take from a closed inbox."""
        with self._changed:
            left = [*self._urgent, *self._waiting]
            self._urgent.clear()
            self._waiting.clear()
            return left


class Workers(Generic[T]):
    """Threads, one for each of `serve`, which take jobs from one inbox until it is closed.

    When one of them ends, of a bug or because all are to end, so do the others, and what still waits is failed.
    """

    def __init__(self, what: str, serve: Sequence[Callable[[Inbox[T]], None]]) -> None:
        self._what = what
        self._inbox = Inbox[T]()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"claas-{what}-{index}", daemon=True)
            for index, each in enumerate(serve)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: T, *, urgent: bool = False) -> None:
        """Queue a job. Raises `StackError` once closed."""
        self._inbox.put(job, urgent=urgent)

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return len(self._inbox)

    @property
    def trouble(self) -> str | None:
        """Why no more jobs are accepted; None while all threads run."""
        return None if all(thread.is_alive() for thread in self._threads) else self._inbox.reason

    def close(self) -> None:
        """Stop the threads; jobs that they have not finished fail with `StackError`."""
        self._inbox.close()
        for thread in self._threads:
            thread.join()

    def _run(self, serve: Callable[[Inbox[T]], None]) -> None:
        torch.get_num_threads()  # torch lets a thread have the number set for all of them at its first question only
        try:
            serve(self._inbox)
        except BaseException as error:  # nobody else would hear of it
            self._inbox.close(f"{told(self._what, error)}; it has ended: start the server again")
        finally:
            self._inbox.close()
            fail(self._inbox.left(), self._inbox.reason)


def fail(jobs: Iterable[QueuedJob], message: str, cause: BaseException | None = None) -> None:
    """Fail those of `jobs` whose results are still awaited with a `StackError`."""
    for result in (job.result for job in jobs):
        if not result.done() and (result.running() or result.set_running_or_notify_cancel()):
            failure = StackError(message)
            failure.__cause__ = cause
            result.set_exception(failure)


def told(what: str, error: BaseException) -> str:
    """What failed and why, in one line; the log has it with its traceback."""
    said = one_line(error)
    message = f"{what} failed: {type(error).__name__}" + (f": {said}" if said else "")
    _log.error(message, exc_info=error)
    return message


@contextmanager
def answering(what: str) -> Generator[None]:
    """Pass errors of a thread on to the caller: our own as they are, any other as `StackError`."""
    try:
        yield
    except ClaasError:
        raise
    except BaseException as error:  # KeyboardInterrupt and SystemExit, too: in the event loop they would end the server
        raise StackError(told(what, error)) from error


class Batcher:
    """Feeds decoders, each in a thread of its own, from any thread.

    Each decodes at most `max_rows` jobs at a time, and as many urgent ones, for which the others wait; those that come
    when it is full wait for the first that has room.
    """

    def __init__(self, decoders: Sequence[Decoder], max_rows: int) -> None:
        self._decoders = decoders
        self._max_rows = max_rows
        self._workers = Workers("decoding", [partial(self._serve, decoder) for decoder in decoders])

    def submit(self, job: DecodeJob) -> Future[SampledIds]:
        """The answer, once it is decoded. Raises `StackError` once closed."""
        self._workers.submit(job, urgent=job.params.urgent)
        return job.result

    @property
    def load(self) -> int:
        """Jobs waiting or being decoded."""
        return self._workers.waiting + sum(len(decoder.rows) for decoder in self._decoders)

    @property
    def trouble(self) -> str | None:
        """Why decoding has ended; None while every thread runs."""
        return self._workers.trouble

    def close(self) -> None:
        """Stop the threads; unfinished jobs fail with `StackError`."""
        self._workers.close()

    def _serve(self, decoder: Decoder, inbox: Inbox[DecodeJob]) -> None:
        try:
            while (arrived := self._take(decoder, inbox)) is not None:
                try:
                    _advance(decoder, arrived)
                except BaseException as error:  # whatever it is, those who wait are told
                    fail((*decoder.rows, *arrived), told("decoding", error), error)
                    decoder.reset()
        finally:
            fail(decoder.rows, inbox.reason)

    def _take(self, decoder: Decoder, inbox: Inbox[DecodeJob]) -> list[DecodeJob] | None:
        urgent = sum(row.params.urgent for row in decoder.rows)
        room = 0 if urgent else self._max_rows - len(decoder.rows)
        return inbox.take(room, wait=not decoder.rows, most_urgent=self._max_rows - urgent)


def _advance(decoder: Decoder, arrived: Sequence[DecodeJob]) -> None:
    """Decode one more token for every row, including those of newly arrived jobs."""
    decoder.drop(_withdrawn)
    if admitted := [job for job in arrived if not _withdrawn(job)]:
        decoder.admit(admitted)
    if decoder.rows:
        decoder.step()


def _withdrawn(job: DecodeJob) -> bool:
    return job.result.cancelled()


class StreamingText:
    """Turns the tokens of one row into pieces. It works in the event loop that made it, not in the decoding thread.

    Tokens are emitted with the text they complete: one that ends inside a character, or in what may become a stop
    string, waits for the next.
    """

    def __init__(self, job: DecodeJob, chat: ChatFormat, on_piece: OnPiece) -> None:
        self._job = job
        self._chat = chat
        self._on_piece = on_piece
        self._emitted_text = ""
        self._emitted_tokens = 0
        self._count = 0
        self._called = False

    def listener(self) -> Callable[[int], None]:
        """The callback for the decoding thread, called after each token."""
        loop = asyncio.get_running_loop()

        def listen(count: int) -> None:
            self._count = count
            if not self._called:  # a loop that is busy takes several tokens at once
                self._called = True
                with suppress(RuntimeError):  # the loop has closed: nobody listens any more
                    loop.call_soon_threadsafe(self._advance)

        return listen

    def _advance(self) -> None:
        self._called = False
        count = self._count
        text = settled(self._chat.text(self._job.token_ids[:count]), self._job.params.stop)
        if len(text) <= len(self._emitted_text) or not text.startswith(self._emitted_text):
            return
        new, part = text[len(self._emitted_text) :], slice(self._emitted_tokens, count)
        self._emitted_text, self._emitted_tokens = text, count
        tokens = self._chat.scored(self._job.token_ids[part], self._job.logprobs[part])
        alternatives = map(self._chat.scored, self._job.top_ids[part], self._job.top_logprobs[part])
        self._on_piece(Piece(new, tokens, tuple(alternatives)))


def settled(text: str, stops: Sequence[str]) -> str:
    """The part of an unfinished text that stays whatever comes: no part of a character, no part of a stop string."""
    stopped = cut(text, stops)
    if len(stopped) < len(text):
        return stopped
    text = text.rstrip(PART_OF_A_CHARACTER)
    return text[: len(text) - max((_possible_start(text, stop) for stop in stops), default=0)]


def _possible_start(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
