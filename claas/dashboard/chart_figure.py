"""One panel as a plotly figure: plain data, without colours, which the page's script takes from its style sheet."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from claas.dashboard.panel_curve import PanelCurve, interval_text
from claas.eval.history import History
from claas.eval.plots.look import DASHES, MARKERS, look
from claas.eval.plots.panel import Panel

_ROOM = 0.06
_FAR = 20
"""How many heights of the axis an alert zone reaches beyond it, for those who drag the axis."""

_MARKERS_SHOWN = 24
_MARKER_SIZE, _DOT_SIZE = 7, 2.5
_LONGEST_NAME = 48


def panel_figure(panel: Panel, histories: Mapping[str, History], curves: Sequence[PanelCurve]) -> dict[str, Any]:
    """`data` and `layout` for plotly, of the panel's curves of `histories`, whose keys name them.

    `meta` of a trace says which curve it belongs to, and whether it is its `value`, its `band` or its `lost`
    measurements; the name of a shape says whether it is a `threshold` or an `alarm`, and after a slash whose.
    `layout.meta.ranges` are the vertical ranges that fit one curve alone, None where it has no data.
    """
    traces = [_traces(curve, index, name) for index, (name, curve) in enumerate(zip(histories, curves, strict=True))]
    planned = max((history.planned_steps for history in histories.values()), default=0)
    return {
        "data": [trace for found in traces for trace in found],
        "layout": _layout(panel, histories, curves, planned),
    }


def plain(text: str) -> str:
    """The text as plotly shows it unchanged: not too long, and nothing in it read as a tag or an entity."""
    short = text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _traces(curve: PanelCurve, index: int, name: str) -> list[dict[str, Any]]:
    shown = plain(name)
    traces = [_band(curve, index, shown)] if curve.intervals else []
    traces.append(_values(curve, index, shown))
    return [*traces, _lost(curve, index, shown)] if curve.lost else traces


def _values(curve: PanelCurve, index: int, name: str) -> dict[str, Any]:
    drawn = look(index)
    trace = {
        **_trace(index, "value", name),
        "mode": "lines+markers",
        "x": list(curve.points),
        "y": list(curve.points.values()),
        "line": {"width": 2, "dash": DASHES[drawn.dash]},
        "marker": {"symbol": MARKERS[drawn.marker], "size": _sizes(len(curve.points), index)},
        "hovertemplate": "%{y:.4~g}",
    }
    if curve.intervals:
        trace |= {
            "text": [interval_text(curve.intervals.get(updates)) for updates in curve.points],
            "hovertemplate": "%{y:.4~g} %{text}",
        }
    return trace


def _sizes(points: int, index: int) -> float | list[float]:
    """Every point has a mark; where they would touch, most are dots, and each curve's markers stand elsewhere."""
    every = -(-points // _MARKERS_SHOWN)
    if every == 1:
        return _MARKER_SIZE
    shift = index * every // len(MARKERS)
    return [_DOT_SIZE if (place - shift) % every else _MARKER_SIZE for place in range(points)]


def _band(curve: PanelCurve, index: int, name: str) -> dict[str, Any]:
    """One outline a run, forth along the upper ends and back along the lower, with a gap between them."""
    x: list[int | None] = []
    y: list[float | None] = []
    for run in curve.bands():
        there = [(updates, interval.high) for updates, interval in run]
        back = [(updates, interval.low) for updates, interval in reversed(run)]
        x += [*([None] if x else []), *(updates for updates, _ in there + back)]
        y += [*([None] if y else []), *(height for _, height in there + back)]
    drawn = {"mode": "lines", "x": x, "y": y, "fill": "toself", "line": {"width": 1}, "opacity": 0.2}
    return {**_trace(index, "band", name), **drawn, "hoverinfo": "skip"}


def _lost(curve: PanelCurve, index: int, name: str) -> dict[str, Any]:
    """Crosses on the axis: when something was lost, and no value."""
    return {
        **_trace(index, "lost", name),
        "mode": "markers",
        "x": curve.lost,
        "y": [0] * len(curve.lost),
        "yaxis": "y2",
        "cliponaxis": False,
        "marker": {"symbol": "x-thin-open", "size": 7},
        "hovertemplate": "n/a: due, and lost",
    }


def _trace(index: int, role: str, name: str) -> dict[str, Any]:
    meta = {"series": index, "role": role}
    return {"type": "scatter", "uid": f"{role}/{index}", "name": name, "meta": meta, "connectgaps": False}


def _layout(
    panel: Panel, histories: Mapping[str, History], curves: Sequence[PanelCurve], planned: int
) -> dict[str, Any]:
    lines = panel.lines(histories.values())
    ranges = [_range(panel, curve.heights(), _own(lines, index)) for index, curve in enumerate(curves)]
    everything = [height for curve in curves for height in curve.heights()]
    low, high = _range(panel, everything, [at for at, _ in lines]) or (0.0, 1.0)
    margin = 0.03 * planned + 0.1
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "feedback updates"}, "range": [-margin, planned + margin]},
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


def _own(lines: Iterable[tuple[float, int | None]], index: int) -> list[float]:
    return [at for at, whose in lines if whose in (None, index)]


def _range(panel: Panel, heights: Sequence[float], thresholds: Sequence[float]) -> tuple[float, float] | None:
    """From lowest to highest with some room, thresholds included, unless the panel sets an end."""
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
