"""When an answer ends."""

from collections.abc import Callable, Sequence
from typing import Literal

from claas.engines.local.requests import DecodeRequest

_SPARE_TOKENS = 8
_TOKENS_PER_CHARACTER = 4


def finish_reason(
    row: DecodeRequest, stop_ids: frozenset[int], text: Callable[[Sequence[int]], str]
) -> Literal["stop", "length"] | None:
    """Why the row is done after its last token; None while it is not. `text` is what tokens read as."""
    if row.token_ids[-1] in stop_ids:
        return "stop"
    if row.params.stop and _just_said(row, text):
        return "stop"
    return "length" if len(row.token_ids) >= row.params.max_tokens else None


def _just_said(row: DecodeRequest, text: Callable[[Sequence[int]], str]) -> bool:
    """Whether the tail, long enough to hold any stop string, contains one."""
    tail = _TOKENS_PER_CHARACTER * max(map(len, row.params.stop)) + _SPARE_TOKENS
    said = text(row.token_ids[-tail:])
    return any(stop in said for stop in row.params.stop)
