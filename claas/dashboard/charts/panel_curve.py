"""One panel's curve of one preference: its points and their intervals, looked up once for chart and table."""

import math

from claas.dashboard.formats import figure
from claas.eval.history import History
from claas.eval.plots.panel import Panel
from claas.eval.verdicts.statistics import Interval


class PanelCurve:
    """`points` by number of updates, None where a value was due and lost; `intervals` where there are any."""

    def __init__(self, panel: Panel, history: History) -> None:
        self.points = {at: None if math.isnan(value) else value for at, value in panel.points(history).items()}
        self.intervals = panel.intervals(history)

    @property
    def lost(self) -> list[int]:
        """When a value was due and lost."""
        return [updates for updates, value in self.points.items() if value is None]

    @property
    def alone(self) -> set[int]:
        """The points that no line reaches, as there is no value on either side."""
        values = [None, *self.points.values(), None]
        around = zip(self.points, values, values[1:], values[2:], strict=False)
        return {updates for updates, before, value, after in around if value is not None and before is after is None}

    def heights(self) -> list[float]:
        """Every height that has to be seen."""
        ends = [end for interval in self.intervals.values() for end in (interval.low, interval.high)]
        return [*(value for value in self.points.values() if value is not None), *ends]

    def bands(self) -> list[list[tuple[int, Interval]]]:
        """The intervals in runs of neighbours: a run ends where a point has none."""
        runs: list[list[tuple[int, Interval]]] = [[]]
        for updates in self.points:
            interval = self.intervals.get(updates)
            if interval is not None:
                runs[-1].append((updates, interval))
            elif runs[-1]:
                runs.append([])
        return [run for run in runs if run]

    def texts(self) -> dict[int, str]:
        """Every point as a person reads it: the number with its interval, or `lost`."""
        return {updates: self._text(updates, value) for updates, value in self.points.items()}

    def _text(self, updates: int, value: float | None) -> str:
        return "lost" if value is None else f"{figure(value)} {interval_text(self.intervals.get(updates))}".rstrip()


def interval_text(interval: Interval | None) -> str:
    """`[low, high]`, or nothing."""
    return f"[{figure(interval.low)}, {figure(interval.high)}]" if interval else ""
