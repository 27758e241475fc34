"""The pictures of a run, or of several, for a page: interactive charts, and the same numbers as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from claas.dashboard.charts.chart_figure import panel_figure
from claas.dashboard.charts.panel_curve import PanelCurve
from claas.eval.history import History, Status
from claas.eval.plots.intervals import Intervals
from claas.eval.plots.look import DASHES, MARKERS, look
from claas.eval.plots.panel import Panel
from claas.eval.plots.pictures import Picture, pictures
from claas.eval.types import Criteria

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


def charts_of(histories: Mapping[str, History], criteria: Criteria, intervals: Intervals) -> Charts:
    """Charts of these histories, all in each: their keys name the curves, their order gives the colours."""
    found = [_group(picture, histories) for picture in pictures(criteria, histories, intervals)]
    series = tuple(_series(index, name, history) for index, (name, history) in enumerate(histories.items()))
    return Charts(series, tuple(group for group in found if group.charts))


def _series(index: int, name: str, history: History) -> Series:
    drawn = look(index)
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
