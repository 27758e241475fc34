"""One set of axes: a key's curve for every preference, with its interval, threshold and alert zone."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from claas.eval.history import History
from claas.eval.verdicts.statistics import Interval

Curve = Mapping[int, float | None]

Band = Callable[[History, int], Interval | None]
"""The interval of a preference's measurement after so many updates."""


@dataclass(frozen=True)
class Threshold:
    """A line that a curve should stay above, or below; `alarm` shades its bad side.

    `of_baseline`: the line stands at this fraction of each preference's own baseline.
    """

    at: float
    label: str
    above: bool = True
    alarm: bool = False
    of_baseline: bool = False


@dataclass(frozen=True)
class Panel:
    """What to draw. `at_baseline` is the value before training of a key defined relative to it.

    `limits` bound the vertical axis, None leaving an end to the data.
    """

    key: str
    title: str
    label: str
    band: Band | None = None
    threshold: Threshold | None = None
    at_baseline: float | None = None
    limits: tuple[float | None, float | None] = (None, None)
    curve: Callable[[History, str], Curve] = History.curve

    def points(self, history: History) -> dict[int, float]:
        """The curve by number of updates, in order; NaN, which is drawn as a gap, where it was due and lost."""
        known = self.curve(history, self.key)
        points = {updates: math.nan if value is None else value for updates, value in known.items()}
        if self.at_baseline is not None and history.baseline and known:
            points.setdefault(0, self.at_baseline)
        return dict(sorted(points.items()))

    def intervals(self, history: History) -> dict[int, Interval]:
        """Those there are, by number of updates: none at a gap, and no width where the value is known by definition."""
        if self.band is None:
            return {}
        known = self.curve(history, self.key)
        found = {updates: self.band(history, updates) for updates, value in known.items() if value is not None}
        if self.at_baseline is not None and history.baseline and known:
            found[0] = Interval(self.at_baseline, self.at_baseline)
        return {updates: interval for updates, interval in found.items() if interval is not None}

    def lines(self, histories: Iterable[History]) -> list[tuple[float, int | None]]:
        """Where the threshold stands, and by its place whose it is; None where it is the same for all."""
        if self.threshold is None:
            return []
        if not self.threshold.of_baseline:
            return [(self.threshold.at, None)]
        starts = [self.curve(history, self.key).get(0) for history in histories]
        own = [(self.threshold.at * start, index) for index, start in enumerate(starts) if start is not None]
        return [(own[0][0], None)] if len({at for at, _ in own}) == 1 else [*own]

    def measured(self, history: History) -> bool:
        """Whether there is anything to draw."""
        return any(value is not None for value in self.curve(history, self.key).values())
