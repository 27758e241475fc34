"""Whether an answer reads as its own tokens spell."""

import re
from collections.abc import Sequence

from claas.core.text import PART_OF_A_CHARACTER, looks_special, visible
from claas.core.thinking import unmarked
from claas.wire.chat import TokenLogprobs


def spells(tokens: Sequence[TokenLogprobs], text: str, *, thinking: str = "", stopped: bool) -> bool:
    """Whether `text` is what `tokens` spell, thinking left in or taken out, and then told apart as `thinking` or not.

    A `stopped` answer's last token is the end of the turn, which no text shows. The rest is exact to the character,
    with three allowances that a right answer may need: tokens that look special (`<|im_start|>`) may be left out;
    spaces are not compared, for some vocabularies put them between tokens and not into them, while line breaks are, but
    for those around the text; and where a token is part of a character and the server does not give its bytes, so that
    it reads as U+FFFD, each run of characters beyond ASCII counts as one. No stop strings are asked for, so none cuts
    the text.
    """
    return any(
        _alike(text, full) or _alike(text, visible(full)) or (thinking and _alike_after(thinking, text, unmarked(full)))
        for full in _readings(tokens, stopped=stopped)
    )


def spelled(tokens: Sequence[TokenLogprobs]) -> str:
    """The tokens' text, one after the other; bytes that make no character read as U+FFFD."""
    return b"".join(map(_bytes, tokens)).decode("utf-8", "replace")


_SPACES = re.compile(r"[ \t]+")
_LINE_BREAKS = re.compile(r"[\n\r\f\v]+")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def _readings(tokens: Sequence[TokenLogprobs], *, stopped: bool) -> list[str]:
    """What the tokens can read as: with and without the last one where that ends the turn, and any special ones."""
    turns = [tokens, tokens[:-1]] if stopped else [tokens]
    plain = [[token for token in turn if not looks_special(token.token)] for turn in turns]
    return [spelled(turn) for turn in (*turns, *plain)]


def _bytes(token: TokenLogprobs) -> bytes:
    try:
        return token.token.encode() if token.bytes is None else bytes(token.bytes)
    except ValueError:  # not bytes, or not a text, so not what a model said
        return PART_OF_A_CHARACTER.encode()


def _alike(text: str, reading: str) -> bool:
    """Whether both are the same but for spaces and, where the reading has parts of characters, beyond ASCII."""
    return _folded(text, reading) == _folded(reading, reading)


def _alike_after(thinking: str, text: str, reading: str) -> bool:
    """Whether a reading is this thinking, its line breaks aside, and then the text."""
    whole, other = (_LINE_BREAKS.sub("", _folded(each, reading)) for each in (thinking + text, reading))
    return whole == other and _folded(reading, reading).endswith(_folded(text, reading))


def _folded(text: str, reading: str) -> str:
    """A text as it is compared with a reading of tokens."""
    text = _SPACES.sub("", text.strip(" \t\n\r\f\v"))
    return _NOT_ASCII.sub(PART_OF_A_CHARACTER, text) if PART_OF_A_CHARACTER in reading else text
