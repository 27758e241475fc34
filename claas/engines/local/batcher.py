"""The decoding threads: they take requests as they arrive and keep their decoders stepping."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from claas.engines.local.decode import Decoder
from claas.engines.local.requests import Decoded, DecodeRequest
from claas.engines.local.workers import Inbox, Workers, fail


class Batcher:
    """Feeds decoders, each in a thread of its own, from any thread.

    Each decodes at most `max_rows` requests at a time; others wait for the first that has room.
    """

    def __init__(self, decoders: Sequence[Decoder], max_rows: int) -> None:
        self._decoders = decoders
        self._max_rows = max_rows
        self._workers = Workers("claas-decode", [partial(self._serve, decoder) for decoder in decoders])

    def submit(self, request: DecodeRequest) -> Future[Decoded]:
        """The answer, once it is decoded. Raises `StackError` once closed."""
        self._workers.submit(request)
        return request.result

    @property
    def load(self) -> int:
        """Requests waiting or being decoded."""
        return self._workers.waiting + sum(len(decoder.rows) for decoder in self._decoders)

    @property
    def alive(self) -> bool:
        """Whether every thread runs."""
        return self._workers.alive

    def close(self) -> None:
        """Stop the threads; unfinished requests fail with `StackError`."""
        self._workers.close()

    def _serve(self, decoder: Decoder, inbox: Inbox[DecodeRequest]) -> None:
        try:
            self._decode(decoder, inbox)
        finally:
            fail(decoder.rows)

    def _decode(self, decoder: Decoder, inbox: Inbox[DecodeRequest]) -> None:
        while (arrived := inbox.take(self._max_rows - len(decoder.rows), wait=not decoder.rows)) is not None:
            try:
                decoder.drop(_withdrawn)
                if admitted := [request for request in arrived if not _withdrawn(request)]:
                    decoder.admit(admitted)
                if decoder.rows:
                    decoder.step()
            except RuntimeError as error:  # what torch raises, above all when memory runs out
                fail((*decoder.rows, *arrived), f"decoding failed: {error}", error)
                decoder.reset()


def _withdrawn(request: DecodeRequest) -> bool:
    return request.result.cancelled()
