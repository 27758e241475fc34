"""What a person sees of a model's text: thinking removed, white space folded, and the key it is found under."""

import hashlib
import re

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_STRAY_CLOSE = re.compile(r"\A(?:(?!<think>).)*?</think>", re.DOTALL)


def visible(text: str) -> str:
    """The text without its thinking, stripped. Idempotent.

    Thinking is everything between ``<think>`` and ``</think>``; a block that was cut off before it closed is
    thinking to the end, and a leading block whose opening tag sits in the prompt ends at the first ``</think>``.
    """
    previous = None
    while previous != text:
        previous = text
        text = _STRAY_CLOSE.sub("", _THINKING.sub("", text)).strip()
    return text


def quoted(text: str, at_most: int = 80) -> str:
    """The text's beginning between quotes, for messages."""
    return repr(text if len(text) <= at_most else f"{text[:at_most]}…")


def visible_key(text: str) -> str:
    """sha256 (hex) of the visible text with white space folded: equal for texts that read the same."""
    return hashlib.sha256(" ".join(visible(text).split()).encode()).hexdigest()
