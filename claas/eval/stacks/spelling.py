"""Whether an answer's text is what its own tokens spell: what was altered on the way is no answer of the model's."""

import re
from collections.abc import Sequence

from claas.core.text import visible
from claas.wire.chat import TokenLogprobs

_SPACE = re.compile(r"[ \t\n\r\f\v]+")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SPECIAL = re.compile(r"<.+>|\[.+\]", re.DOTALL)
_PART = "\N{REPLACEMENT CHARACTER}"


def spells(tokens: Sequence[TokenLogprobs], text: str, *, stopped: bool) -> bool:
    """Whether `text` is what `tokens` spell, thinking left in or taken out.

    A `stopped` answer's last token is the end of the turn, which no text shows. The rest is exact to the character,
    with three allowances that a right answer may need: tokens that look special (`<|im_start|>`) may be left out; white
    space is not compared, for some vocabularies put it between tokens and not into them; and where a token is part of
    a character and the server does not give its bytes, so that it reads as U+FFFD, each run of characters beyond ASCII
    counts as one. No stop strings are asked for, so none cuts the text.
    """
    return any(
        _folded(text, partial=_PART in spelled) == _folded(spelled, partial=_PART in spelled)
        for told in _told(tokens, stopped=stopped)
        for spelled in (told, visible(told))
    )


def spelled(tokens: Sequence[TokenLogprobs]) -> str:
    """The tokens' text, one after the other; bytes that make no character read as U+FFFD."""
    return b"".join(map(_bytes, tokens)).decode("utf-8", "replace")


def _told(tokens: Sequence[TokenLogprobs], *, stopped: bool) -> list[str]:
    """What the tokens say in full, without the last one where that ends the turn, and without any special ones."""
    sayings = [tokens, tokens[:-1]] if stopped else [tokens]
    return [
        spelled(said) for saying in sayings for said in (saying, [each for each in saying if not _is_special(each)])
    ]


def _bytes(token: TokenLogprobs) -> bytes:
    try:
        return token.token.encode() if token.bytes is None else bytes(token.bytes)
    except ValueError:  # not bytes, or not a text, so not what a model said
        return _PART.encode()


def _is_special(token: TokenLogprobs) -> bool:
    return _SPECIAL.fullmatch(token.token.strip()) is not None


def _folded(text: str, *, partial: bool) -> str:
    text = _SPACE.sub("", text)
    return _NOT_ASCII.sub(_PART, text) if partial else text
