"""Measured numbers as they stand in tables: as many decimals as their neighbours, and a true minus."""

from collections.abc import Iterable

from claas.eval.verdicts.statistics import Interval

NOTHING = "–"
"""Stands where there is no number."""


def decimals(values: Iterable[float]) -> int:
    """How many fit numbers that stand together: three, or one when any is 10 or more."""
    return 3 if all(abs(value) < 10 for value in values) else 1


def number(value: float | None, places: int) -> str:
    """`0.250`, `−12.5`; a dash for None."""
    if value is None:
        return NOTHING
    text = f"{value:.{places}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def signed(value: float | None, places: int) -> str:
    """A difference: `+0.250`, `−12.5`, `0.000`."""
    text = number(value, places)
    return f"+{text}" if value is not None and round(value, places) > 0 else text


def span(interval: Interval | None, places: int) -> str:
    """`0.100 to 0.250`."""
    return f"{number(interval.low, places)} to {number(interval.high, places)}" if interval else NOTHING


def signed_span(interval: Interval | None, places: int) -> str:
    """`−0.100 to +0.250`."""
    return f"{signed(interval.low, places)} to {signed(interval.high, places)}" if interval else NOTHING
