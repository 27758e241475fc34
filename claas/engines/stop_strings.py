"""Where a stop string cuts an answer."""

from collections.abc import Sequence


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    found = [position for stop in stops if (position := text.find(stop)) >= 0]
    return text[: min(found)] if found else text
