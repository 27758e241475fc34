"""Text that is no Unicode is refused before any endpoint sees it."""

import re
from collections.abc import Iterator
from typing import Any, cast

from fastapi import Request

from claas.core.errors import InvalidInput

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def require_whole_text(request: Request) -> None:
    """Raise `InvalidInput` on a body with half of a surrogate pair: JSON can spell one, UTF-8 and tokenizers cannot."""
    if not _SURROGATE.search(await request.body()):
        return
    try:
        body = await request.json()  # parsed already, unless it was not declared as JSON
    except (ValueError, RecursionError):
        return  # and then no endpoint takes it
    for text in _texts(body):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = text[error.start]
            raise InvalidInput(
                f"the body holds half of a character, {half!r}, which is no text; send it whole"
            ) from None


def _texts(body: object) -> Iterator[str]:
    """Every string in a parsed body, names of fields included; however deep, without recursion."""
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for pair in cast(dict[str, Any], value).items():
                waiting.extend(pair)
        elif isinstance(value, list):
            waiting.extend(cast(list[Any], value))
