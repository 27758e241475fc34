"""An answer told piece by piece while it is decoded."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from claas.engines.base import OnPiece, Piece, TokenLogprob
from claas.engines.chat import Chat
from claas.engines.local.requests import DecodeRequest
from claas.engines.stop_strings import cut

_PART_OF_A_CHARACTER = "\ufffd"


class Teller:
    """Turns the tokens of one row into pieces. It works in the event loop that made it, not in the decoding thread.

    Tokens are told with the text they complete: one that ends inside a character, or in what may become a stop
    string, waits for the next.
    """

    def __init__(self, request: DecodeRequest, chat: Chat, on_piece: OnPiece) -> None:
        self._request = request
        self._chat = chat
        self._on_piece = on_piece
        self._told_text = ""
        self._told_tokens = 0

    def listener(self) -> Callable[[int], None]:
        """What the decoding thread calls after each token."""
        loop = asyncio.get_running_loop()

        def tell(count: int) -> None:
            with suppress(RuntimeError):  # the loop has closed: nobody listens any more
                loop.call_soon_threadsafe(self._advance, count)

        return tell

    def _advance(self, count: int) -> None:
        text = settled(self._chat.text(self._request.token_ids[:count]), self._request.params.stop)
        if len(text) <= len(self._told_text) or not text.startswith(self._told_text):
            return
        new, start = text[len(self._told_text) :], self._told_tokens
        self._told_text, self._told_tokens = text, count
        self._on_piece(Piece(new, *_tokens(self._request, self._chat, start, count)))


def settled(text: str, stops: Sequence[str]) -> str:
    """The part of an unfinished text that stays whatever comes: no part of a character, no part of a stop string."""
    stopped = cut(text, stops)
    if len(stopped) < len(text):
        return stopped
    text = text.rstrip(_PART_OF_A_CHARACTER)
    return text[: len(text) - max((_begun(text, stop) for stop in stops), default=0)]


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


def _tokens(
    request: DecodeRequest, chat: Chat, start: int, end: int
) -> tuple[tuple[TokenLogprob, ...], tuple[tuple[TokenLogprob, ...], ...]]:
    part = slice(start, end)
    alternatives = zip(request.top_ids[part], request.top_logprobs[part], strict=True)
    return chat.scored(request.token_ids[part], request.logprobs[part]), tuple(
        chat.scored(ids, logprobs) for ids, logprobs in alternatives
    )
