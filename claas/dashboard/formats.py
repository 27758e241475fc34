"""Numbers as pages show them; a dash where there is none."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from claas.core.files import dump_json

NONE = "–"

_TITLES = {
    "heldout": "held-out",
    "heldout_compliance": "held-out compliance",
    "self_rouge_l": "self-ROUGE-L",
    "out_of_scope": "asked for the opposite",
}


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


def percent(value: float | None) -> str:
    """A share as a percentage: 94 %."""
    return NONE if value is None else f"{100 * value:.0f} %"


def compact(count: float) -> str:
    """A count in three digits: 950, 12.3k, 4.56M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def title(name: str) -> str:
    """A criterion or a set of items as people write it: `self-ROUGE-L` of `self_rouge_l`."""
    return _TITLES.get(name, name.replace("_", " "))


def capitalized(text: str) -> str:
    """The text with its first letter large, the rest as it is."""
    return text[:1].upper() + text[1:]


def settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a nested configuration, dotted: `training.alpha` and `0.5`."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from settings(cast(dict[str, Any], value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else dump_json(value)
