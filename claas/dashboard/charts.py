"""The pictures of a run, or of several, for a page: what its script draws, and the same numbers as tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from claas.results.charts import DASHES, MARKERS, Intervals, Panel, Picture, curve_style, pictures
from claas.results.numbers import figure, interval_figures
from claas.results.records import History, Status
from claas.results.statistics import Interval

DIAGNOSTICS = frozenset({"training", "other"})
"""The pictures that a page keeps folded: they matter when the others look odd."""


@dataclass(frozen=True)
class Series:
    """One curve of every chart. `colour` is its place among the page's series colours; `note` says that it is not
    complete."""

    name: str
    note: str | None
    colour: int
    marker: str
    dash: str


@dataclass(frozen=True)
class Row:
    """What was measured after so many updates, a cell a series: a number with its interval, `lost`, or nothing."""

    updates: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """One panel. `summary` is for those who do not see it, `rule` what its dashed line means."""

    id: str
    title: str
    label: str
    rule: str | None
    summary: str
    figure: dict[str, Any]
    rows: tuple[Row, ...]

    @property
    def has_lost(self) -> bool:
        """Whether any value was due and lost."""
        return any(trace["meta"]["role"] == "lost" for trace in self.figure["data"])


@dataclass(frozen=True)
class Group:
    """One picture: its name is that of its PNG."""

    name: str
    title: str
    charts: tuple[Chart, ...]

    @property
    def folded(self) -> bool:
        """Whether it is shown on demand only."""
        return self.name in DIAGNOSTICS


@dataclass(frozen=True)
class Charts:
    """Everything there are data for."""

    series: tuple[Series, ...]
    groups: tuple[Group, ...]

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script draws from, as JSON; a page sends the same to `claasCharts.update`."""
        drawn = {chart.id: chart.figure for group in self.groups for chart in group.charts}
        return {"series": [asdict(series) for series in self.series], "charts": drawn}


def charts_of(histories: Mapping[str, History], criteria: Mapping[str, float], intervals: Intervals) -> Charts:
    """Charts of these histories, all in each: their keys name the curves, their order gives the colours."""
    groups = [_group(picture, histories) for picture in pictures(criteria, histories, intervals)]
    series = tuple(_series(index, name, history) for index, (name, history) in enumerate(histories.items()))
    return Charts(series, tuple(group for group in groups if group.charts))


def _series(index: int, name: str, history: History) -> Series:
    drawn = curve_style(index)
    note = None if history.status is Status.COMPLETE else history.progress
    return Series(name, note, drawn.colour, MARKERS[drawn.marker], DASHES[drawn.dash])


def _group(picture: Picture, histories: Mapping[str, History]) -> Group:
    panels = [panel for panel in picture.panels if any(panel.measured(history) for history in histories.values())]
    return Group(picture.name, picture.title, tuple(_chart(picture.name, panel, histories) for panel in panels))


def _chart(group: str, panel: Panel, histories: Mapping[str, History]) -> Chart:
    curves = [PanelCurve(panel, history) for history in histories.values()]
    columns = [curve.texts() for curve in curves]
    return Chart(
        id=f"{group}/{panel.key}",
        title=panel.title,
        label=panel.label,
        rule=panel.threshold and panel.threshold.label,
        summary=_summary(panel, list(histories), columns),
        figure=panel_figure(panel, histories, curves),
        rows=tuple(
            Row(updates, tuple(column.get(updates, "") for column in columns))
            for updates in sorted({updates for column in columns for updates in column})
        ),
    )


def _summary(panel: Panel, names: Sequence[str], columns: Sequence[Mapping[int, str]]) -> str:
    """The chart in words: where every curve has come to."""
    ends = [
        f"{name} {column[last]} after {last} updates"
        for name, column in zip(names, columns, strict=True)
        if (last := max(column, default=None)) is not None
    ]
    return f"{panel.title}, {panel.label}: {'; '.join(ends)}"


class PanelCurve:
    """`points` by number of updates, None where a value was due and lost; `intervals` where there are any."""

    def __init__(self, panel: Panel, history: History) -> None:
        self.points = {at: None if math.isnan(value) else value for at, value in panel.points(history).items()}
        self.intervals = panel.intervals(history)

    @property
    def lost(self) -> list[int]:
        """After how many updates a value was due and lost."""
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
        return {
            at: "lost" if value is None else f"{figure(value)} {interval_figures(self.intervals.get(at))}".rstrip()
            for at, value in self.points.items()
        }


_BAND_OPACITY = 0.2
"""How opaque the bands of up to three curves are; more share it, so that what lies beneath can still be seen."""


def panel_figure(panel: Panel, histories: Mapping[str, History], curves: Sequence[PanelCurve]) -> dict[str, Any]:
    """`data` and `layout` for plotly, of the panel's curves of `histories`, whose keys name them.

    `meta` of a trace says which curve it belongs to, and whether it is its `value`, its `band`, its `marks` (on a long
    line only) or its `lost` measurements. The name of a shape says whether it is a `threshold` or an `alarm`, and after
    a slash whose. `layout.meta.ranges` are the vertical ranges that fit one curve alone, None where it has no data.
    """
    opacity = min(_BAND_OPACITY, 3 * _BAND_OPACITY / len(curves))
    named = enumerate(zip(histories, curves, strict=True))
    data = [trace for index, (name, curve) in named for trace in _traces(curve, index, _name(name), opacity)]
    planned = max(history.planned_steps for history in histories.values())
    return {"data": data, "layout": _layout(panel, histories, curves, planned)}


def plain(text: str) -> str:
    """The text as plotly shows it unchanged: nothing in it is read as a tag or an entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_LONGEST_NAME = 48


def _name(text: str) -> str:
    """Not too long, and apart from the text around it, whichever way it is written (Unicode's FSI and PDI)."""
    short = text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
    return f"\u2068{plain(short)}\u2069"


def _traces(curve: PanelCurve, index: int, name: str, opacity: float) -> list[dict[str, Any]]:
    values = _values(curve, index)
    marks = _marks(curve, index) if values["mode"] == "lines" else None
    bands = _band(curve, opacity) if curve.intervals else None
    lost = _lost(curve) if curve.lost else None
    parts = {"band": bands, "value": values, "marks": marks, "lost": lost}
    return [{**_trace(index, role, name), **drawn} for role, drawn in parts.items() if drawn]


def _trace(index: int, role: str, name: str) -> dict[str, Any]:
    meta = {"series": index, "role": role}
    return {"type": "scatter", "uid": f"{role}-{index}", "name": name, "meta": meta, "connectgaps": False}


_MOST_MARKERS = 30


def _values(curve: PanelCurve, index: int) -> dict[str, Any]:
    """The line through every point; with its markers, unless they would touch."""
    few = len(curve.points) <= _MOST_MARKERS
    trace: dict[str, Any] = {
        "mode": "lines+markers" if few else "lines",
        "x": list(curve.points),
        "y": list(curve.points.values()),
        "line": {"width": 2, "dash": DASHES[curve_style(index).dash]},
        "hovertemplate": "%{y:.4~g}",
    }
    if few:
        trace["marker"] = _marker(index)
    if curve.intervals:
        trace["text"] = [interval_figures(curve.intervals.get(updates)) for updates in curve.points]
        trace["hovertemplate"] = "%{y:.4~g} %{text}"
    return trace


def _marks(curve: PanelCurve, index: int) -> dict[str, Any]:
    """Markers on some points of a long line, elsewhere on every curve, and on those that no line reaches."""
    every = -(-len(curve.points) // _MOST_MARKERS)
    chosen = {*list(curve.points)[index % every :: every], *curve.alone} - {*curve.lost}
    x = sorted(chosen)
    return {
        "mode": "markers",
        "x": x,
        "y": [curve.points[at] for at in x],
        "marker": _marker(index),
        "hoverinfo": "skip",
    }


def _marker(index: int) -> dict[str, Any]:
    return {"symbol": MARKERS[curve_style(index).marker], "size": 7}


def _band(curve: PanelCurve, opacity: float) -> dict[str, Any]:
    """One outline a run, forth along the upper ends and back along the lower, with a gap between them."""
    x: list[int | None] = []
    y: list[float | None] = []
    for run in curve.bands():
        there = [(updates, interval.high) for updates, interval in run]
        back = [(updates, interval.low) for updates, interval in reversed(run)]
        x += [*([None] if x else []), *(updates for updates, _ in there + back)]
        y += [*([None] if y else []), *(height for _, height in there + back)]
    outline = {"mode": "lines", "x": x, "y": y, "fill": "toself", "line": {"width": 1}}
    return {**outline, "opacity": opacity, "hoverinfo": "skip"}


def _lost(curve: PanelCurve) -> dict[str, Any]:
    """Crosses on the axis: when something was lost, and no value."""
    return {
        "mode": "markers",
        "x": curve.lost,
        "y": [0] * len(curve.lost),
        "yaxis": "y2",
        "cliponaxis": False,
        "marker": {"symbol": "x-thin-open", "size": 7},
        "hovertemplate": "n/a: due, and lost",
    }


_FAR = 20
"""How many heights of the axis an alert zone reaches beyond it, for those who drag the axis."""


def _layout(
    panel: Panel, histories: Mapping[str, History], curves: Sequence[PanelCurve], planned: int
) -> dict[str, Any]:
    lines = panel.lines(histories.values())
    ranges = [
        _range(panel, curve.heights(), [at for at, whose in lines if whose in (None, index)])
        for index, curve in enumerate(curves)
    ]
    everything = [height for curve in curves for height in curve.heights()]
    low, high = _range(panel, everything, [at for at, _ in lines]) or (0.0, 1.0)
    margin = 0.03 * planned + 0.1
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "feedback updates (0 = baseline)"}, "range": [-margin, planned + margin]},
        "yaxis": {"title": {"text": plain(panel.label)}, "range": [low, high]},
        "shapes": [_line(at, index) for at, index in lines],
        "meta": {"ranges": ranges},
    }
    if planned <= 8:
        layout["xaxis"]["dtick"] = 1
    if any(curve.lost for curve in curves):
        layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    if panel.threshold and panel.threshold.alarm:
        beyond = _FAR * (high - low)
        far = low - beyond if panel.threshold.above else high + beyond
        layout["shapes"].append(_zone(panel.threshold.at, far))
    return layout


_ROOM = 0.06


def _range(panel: Panel, heights: Sequence[float], thresholds: Sequence[float]) -> tuple[float, float] | None:
    """The axis from lowest to highest with some room, thresholds included, unless the panel sets an end."""
    if not heights:
        return None
    low, high = min([*heights, *thresholds]), max([*heights, *thresholds])
    room = _ROOM * (high - low) or _ROOM * abs(high) or _ROOM
    bottom, top = panel.limits
    return low - room if bottom is None else bottom, high + room if top is None else top


def _line(at: float, index: int | None) -> dict[str, Any]:
    name = "threshold" if index is None else f"threshold/{index}"
    across = {"xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at}
    return {"type": "line", "name": name, **across, "line": {"width": 1.2, "dash": "dash"}, "layer": "below"}


def _zone(start: float, end: float) -> dict[str, Any]:
    across = {"xref": "paper", "x0": 0, "x1": 1, "y0": start, "y1": end}
    return {"type": "rect", "name": "alarm", **across, "line": {"width": 0}, "layer": "below"}
