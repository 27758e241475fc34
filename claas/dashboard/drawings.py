"""Small drawings within a page's text: a curve without axes, a changed mind, and an interval against its threshold."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from claas.results.efficiency import Flip
from claas.results.verdict import Ruling

WIDTH, HEIGHT = 120, 24
"""The canvas of a sparkline."""


def sparkline(curve: Mapping[int, float | None], planned: int) -> list[str]:
    """A curve in [0, 1] over `planned` updates, as SVG `points`: one line for each stretch without a lost value."""
    points, planned = sorted(curve.items()), max(planned, *curve, 1)
    lines: list[str] = []
    for lost, stretch in groupby(points, key=lambda point: point[1] is None):
        if not lost:
            lines.append(" ".join(_place(updates, value, planned) for updates, value in stretch if value is not None))
    return lines


def _place(updates: int, value: float, planned: int) -> str:
    """A margin of two pixels keeps the line inside."""
    share = min(1.0, max(0.0, value))
    across = 2 + (WIDTH - 4) * updates / planned
    down = HEIGHT - 2 - (HEIGHT - 4) * share
    return f"{across:.1f},{down:.1f}"


@dataclass(frozen=True)
class FlipDrawing:
    """Both wishes of a changed mind over interactions, from 0 to `made`, in the units of an SVG; `said` in words."""

    first: str
    opposite: str
    at: float
    half_gone: float | None
    made: float
    said: str
    width: int = 360
    height: int = 150
    left: int = 28
    right: int = 352
    top: int = 8
    bottom: int = 128

    @property
    def heights(self) -> list[tuple[float, str]]:
        """Where lines of compliance lie, with their labels."""
        return [(self.bottom - share * (self.bottom - self.top), f"{share:g}") for share in (0.0, 0.5, 1.0)]


def flip_drawing(flip: Flip) -> FlipDrawing:
    """The flip is a line, the half-life a dashed one."""
    made = max(*flip.first, *flip.opposite, 1.0)
    left, across = FlipDrawing.left, FlipDrawing.right - FlipDrawing.left
    bottom, up = FlipDrawing.bottom, FlipDrawing.bottom - FlipDrawing.top

    def x(interactions: float) -> float:
        return round(left + across * interactions / made, 1)

    def line(curve: Mapping[float, float]) -> str:
        return " ".join(f"{x(at)},{bottom - up * value:.1f}" for at, value in sorted(curve.items()))

    gone = "half of the first is not gone, or nothing was learned"
    if flip.half_gone is not None:
        gone = f"half of the first is gone {flip.half_gone - flip.at:.3g} interactions later (dashed)"
    return FlipDrawing(
        first=line(flip.first),
        opposite=line(flip.opposite),
        at=x(flip.at),
        half_gone=None if flip.half_gone is None else x(flip.half_gone),
        made=made,
        said=f"the user changes their mind after {flip.at:g} interactions, {gone}",
    )


@dataclass(frozen=True)
class IntervalBar:
    """A ruling's interval and threshold as percentages of a common scale; None where there is none."""

    low: float | None
    high: float | None
    value: float | None
    threshold: float


def interval_bar(ruling: Ruling) -> IntervalBar:
    """The scale holds the interval, the value and the threshold, with a tenth of room on either side."""
    ends = [*(ruling.ci or ()), ruling.threshold, *([] if ruling.value is None else [ruling.value])]
    low, high = min(ends), max(ends)
    room = 0.1 * (high - low) or 1.0

    def place(value: float) -> float:
        return round(100 * (value - low + room) / (high - low + 2 * room), 2)

    return IntervalBar(
        low=place(ruling.ci[0]) if ruling.ci else None,
        high=place(ruling.ci[1]) if ruling.ci else None,
        value=None if ruling.value is None else place(ruling.value),
        threshold=place(ruling.threshold),
    )
