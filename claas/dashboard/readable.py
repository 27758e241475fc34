"""Recorded text as a page can show it: characters that a browser would swallow stand there as signs, and it has an end.

Escaping is the template's: what comes from here is still plain text.
"""

from dataclasses import dataclass

_SIGNS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
"""Control characters by their picture in Unicode: U+0000 is not allowed in a page, and others change what it shows."""


def readable(text: str) -> str:
    """The text, one character for each of its own, control characters as the signs for them."""
    return text.translate(_SIGNS)


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a text, readable, and how many characters come after it."""

    text: str
    left_out: int = 0


def excerpt(text: str, at_most: int) -> Excerpt:
    """The first `at_most` characters."""
    return Excerpt(readable(text[:at_most]), max(0, len(text) - at_most))


def told(text: str, at_most: int) -> str:
    """The first `at_most` characters, and then how many more there are, as one text."""
    found = excerpt(text, at_most)
    return f"{found.text}… ({found.left_out} more characters)" if found.left_out else found.text
