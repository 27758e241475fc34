"""Measured numbers as they stand in tables: three decimals, or one where the number is large, and a true minus."""

NOTHING = "–"
"""Stands where there is no number."""


def number(value: float | None) -> str:
    """`0.250`, `−12.5`; a dash for None."""
    if value is None:
        return NOTHING
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def signed(value: float | None) -> str:
    """A difference: `+0.250`, `−12.5`, `0.000`."""
    text = number(value)
    return f"+{text}" if value is not None and value > 0 and float(text) else text


def span(low: float, high: float) -> str:
    """`0.100 to 0.250`."""
    return f"{number(low)} to {number(high)}"


def signed_span(low: float, high: float) -> str:
    """`−0.100 to +0.250`."""
    return f"{signed(low)} to {signed(high)}"
