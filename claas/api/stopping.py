"""The stop strings of a request."""

from claas.core.errors import InvalidInput


def stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    """One, several or none, of which none is empty."""
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if "" in strings:
        raise InvalidInput("stop must not hold an empty string, got ''")
    return strings
