"""The decoding thread: takes requests as they arrive and keeps the decoder stepping."""

import threading
from concurrent.futures import Future

from claas.engines.local.decode import Decoder
from claas.engines.local.inbox import Inbox, fail
from claas.engines.local.requests import Decoded, DecodeRequest


class Batcher:
    """Feeds a decoder, which it owns, from any thread. At most `max_rows` are decoded at a time; others wait."""

    def __init__(self, decoder: Decoder, max_rows: int) -> None:
        self._decoder = decoder
        self._max_rows = max_rows
        self._inbox = Inbox[DecodeRequest]()
        self._thread = threading.Thread(target=self._run, name="claas-decode", daemon=True)
        self._thread.start()

    def submit(self, request: DecodeRequest) -> Future[Decoded]:
        """The answer, once it is decoded. Raises `StackError` once closed."""
        self._inbox.put(request)
        return request.result

    @property
    def load(self) -> int:
        """Requests waiting or being decoded."""
        return len(self._inbox) + len(self._decoder.rows)

    @property
    def alive(self) -> bool:
        """Whether the thread runs: not once closed, nor after a bug has ended it."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop the thread; unfinished requests fail with `StackError`."""
        self._inbox.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._decode()
        finally:
            fail((request.result for request in (*self._decoder.rows, *self._inbox.left())), "the engine was closed")

    def _decode(self) -> None:
        decoder = self._decoder
        while (arrived := self._inbox.take(self._max_rows - len(decoder.rows), wait=not decoder.rows)) is not None:
            try:
                decoder.drop(_withdrawn)
                if admitted := [request for request in arrived if not _withdrawn(request)]:
                    decoder.admit(admitted)
                if decoder.rows:
                    decoder.step()
            except RuntimeError as error:  # what torch raises, above all when memory runs out
                affected = [request.result for request in (*decoder.rows, *arrived)]
                fail(affected, f"decoding failed: {error}", error)
                decoder.reset()


def _withdrawn(request: DecodeRequest) -> bool:
    return request.result.cancelled()
