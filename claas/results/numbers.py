"""How numbers are written for people: the same on pages, in the terminal and in the report."""

from collections.abc import Iterable

from claas.results.statistics import Interval

NONE = "–"
"""Stands where there is no number."""


def number(value: float | None) -> str:
    """About three significant digits, never more than three decimals: 0.98, 73.9, 1240."""
    if value is None:
        return NONE
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 3
    return f"{value:.{decimals}f}"


def figure(value: float) -> str:
    """A number with four significant digits, a whole one without a point."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def common_decimals(values: Iterable[float]) -> int:
    """How many decimals fit numbers that stand together: three, or one when any is 10 or more."""
    return 3 if all(abs(value) < 10 for value in values) else 1


def fixed(value: float | None, decimals: int) -> str:
    """A number among others with as many decimals: 0.250, −12.5, and 0.000 without a sign."""
    if value is None:
        return NONE
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def signed(value: float | None, decimals: int) -> str:
    """A difference: +0.250, −12.5, 0.000."""
    text = fixed(value, decimals)
    return f"+{text}" if value is not None and round(value, decimals) > 0 else text


def span(interval: Interval | None, decimals: int) -> str:
    """An interval of values: 0.100 to 0.250."""
    return f"{fixed(interval.low, decimals)} to {fixed(interval.high, decimals)}" if interval else NONE


def signed_span(interval: Interval | None, decimals: int) -> str:
    """An interval of differences: −0.100 to +0.250."""
    return f"{signed(interval.low, decimals)} to {signed(interval.high, decimals)}" if interval else NONE


def interval_figures(interval: Interval | None) -> str:
    """An interval beside a figure: [0.1, 0.25], or nothing where there is none."""
    return f"[{figure(interval.low)}, {figure(interval.high)}]" if interval else ""


def percent(value: float | None) -> str:
    """A share as a percentage: 94 %."""
    return NONE if value is None else f"{100 * value:.0f} %"


def compact(count: float) -> str:
    """A count in three digits: 950, 12.3k, 4.56M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def disk_size(size: float) -> str:
    """Bytes on a disk, in units of a thousand: 812 B, 3.4 kB, 29 MB."""
    for unit, letters in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.{1 if size < 10 * unit else 0}f} {letters}"
    return f"{size:.0f} B"


def duration(seconds: float) -> str:
    """0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
