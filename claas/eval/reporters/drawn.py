"""Numbers drawn with characters: a curve in one line, and an interval beside its threshold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from claas.results.numbers import NONE


@dataclass(frozen=True)
class Glyphs:
    """What a terminal can draw with. `levels` go from the lowest to the highest."""

    levels: str = "▁▂▃▄▅▆▇█"
    line: str = "─"
    point: str = "●"
    threshold: str = "│"
    crossed: str = "┼"
    done: str = "━"
    to_do: str = "─"
    none: str = NONE


ASCII = Glyphs("_.-:=+*#", "-", "o", "|", "+", "#", "-", "-")
"""For terminals whose encoding has no others."""


def sparkline(
    curve: Mapping[int, float | None], planned: int, width: int, limits: tuple[float, float] | None, glyphs: Glyphs
) -> str:
    """A curve over updates from 0 to `planned` in at most `width` characters, empty where nothing was measured.

    Where there are more updates than characters, each shows the last number of its stretch. `limits` are the ends of
    the axis, None being those of the curve itself.
    """
    columns = min(width, planned + 1)
    known = {updates: value for updates, value in sorted(curve.items()) if value is not None and updates <= planned}
    low, high = limits or (min(known.values(), default=0.0), max(known.values(), default=0.0))
    drawn = [" "] * columns
    for updates, value in known.items():
        share = min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5
        drawn[updates * columns // (planned + 1)] = glyphs.levels[round(share * (len(glyphs.levels) - 1))]
    return "".join(drawn).ljust(columns)


def interval_drawn(
    value: float | None,
    interval: tuple[float, float] | None,
    threshold: float,
    above: bool,
    width: int,
    glyphs: Glyphs,
) -> str:
    """An interval on an axis of its own whose middle is the threshold, and whose right side is the good one.

    `above` says whether larger is better. `width` is odd. Empty but for the threshold where there is no interval.
    """
    middle = width // 2
    low, high = interval if interval is not None else (threshold, threshold)
    farthest = max(abs(low - threshold), abs(high - threshold))
    sign = 1 if above else -1

    def place(at: float) -> int:
        share = 0.0 if not farthest or math.isinf(farthest) else max(-1.0, min(1.0, (at - threshold) / farthest))
        return middle + sign * round(share * middle)

    drawn = [" "] * width
    drawn[middle] = glyphs.threshold
    if interval is None:
        return "".join(drawn)
    for column in range(min(place(low), place(high)), max(place(low), place(high)) + 1):
        drawn[column] = glyphs.crossed if column == middle else glyphs.line
    if value is not None:
        drawn[place(value)] = glyphs.point
    return "".join(drawn)


def bar(done: float, total: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """What is done of a total, and what is still to do, as two parts of one line; full only once all is done."""
    share = min(1.0, done / total) if total else 0.0
    filled = width if done >= total > 0 else min(width - 1, int(share * width))
    return glyphs.done * filled, glyphs.to_do * (width - filled)
