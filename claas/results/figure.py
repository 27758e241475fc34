"""The pictures as files, drawn with matplotlib: PNG, and PDF and SVG for papers."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from claas.core.files import writing
from claas.results.charts import COLOURS, Panel, Picture, curve_style, from_transcripts, pictures
from claas.results.efficiency import Flip
from claas.results.numbers import signed
from claas.results.records import History, Status
from claas.results.settings import EvalConfig
from claas.results.transfer import Transfer

_matplotlib: Any = matplotlib  # typed in part only

FOLDER = "plots"
PNG = "png"


def write_plots(run_dir: Path, run_id: str, config: EvalConfig, histories: Mapping[str, History]) -> list[Path]:
    """Draw every picture there are data for into `<run_dir>/plots`, and say which were written.

    Works on a run in progress. `config` is the resolved one, whose settings stand in the caption.
    """
    caption = _caption(run_id, config)
    written: list[Path] = []
    for whole in pictures(config.criteria, histories, from_transcripts(config.confidence)):
        picture, constants = without_constants(whole, histories)
        said = " · ".join([caption, *_said_of(picture, constants, histories, config.confidence)])
        for kind in config.plot_formats:
            drawn = draw(picture, histories, said, kind)
            if drawn is not None:
                written.append(run_dir / FOLDER / f"{picture.name}.{kind}")
                write_picture(written[-1], drawn)
    return written


def write_transfer(run_dir: Path, run_id: str, config: EvalConfig, transfer: Transfer) -> None:
    """Draw the matrix of a sequential run into `<run_dir>/plots`, with its intervals."""
    caption = f"{_caption(run_id, config)} · in brackets: {100 * config.confidence:g} % confidence"
    for kind in config.plot_formats:
        write_picture(run_dir / FOLDER / f"transfer.{kind}", draw_transfer(transfer, caption, kind))


def write_flips(run_dir: Path, run_id: str, config: EvalConfig, flips: Mapping[str, Flip]) -> None:
    """Draw both wishes of every user who changed their mind into `<run_dir>/plots`."""
    for kind in config.plot_formats:
        write_picture(run_dir / FOLDER / f"flip.{kind}", draw_flips(flips, _caption(run_id, config), kind))


def draw_flips(flips: Mapping[str, Flip], caption: str, kind: str = PNG) -> bytes:
    """A panel for each user: both wishes as curves over interactions, with the flip and the half-life."""
    page = Sheet(min(3, len(flips)), math.ceil(len(flips) / 3))
    figure: Any = Figure(figsize=(page.width, page.height))
    FigureCanvasAgg(figure)
    handles: list[Any] = []
    for index, (name, flip) in enumerate(flips.items()):
        axes = figure.add_axes(page.place(index))
        dress_axes(axes, name, "mean verifier score", "interactions (answers with feedback)")
        curves = {"the first wish": flip.first, "its opposite": flip.opposite}
        handles = [
            axes.plot(list(curve), list(curve.values()), **_style(place), markersize=3.4, linewidth=1.3, label=label)[0]
            for place, (label, curve) in enumerate(curves.items())
        ]
        axes.set_ylim(-0.03, 1.03)
        handles.append(axes.axvline(flip.at, color=INK, linewidth=0.9, label="the user changes their mind"))
        if flip.half_gone is not None:
            half = axes.axvline(flip.half_gone, color=INK, linestyle=(0, (4, 3)), linewidth=0.9, label="half is gone")
            handles.append(half)
            axes.set_title(f"half-life {flip.half_gone - flip.at:.3g}", fontsize=7.5, color=INK, loc="right")
    _head(figure, page, "Both wishes of a changed mind, on the same answers", handles, caption)
    return _saved(figure, kind)


def draw_transfer(transfer: Transfer, caption: str, kind: str = PNG) -> bytes:
    """The matrix as a heat map with its numbers: a column for each preference, a row for each stage."""
    columns, rows = len(transfer.preferences), len(transfer.matrix)
    width, height = max(5.2, 2.3 + 1.35 * columns), 1.75 + 0.62 * rows
    figure: Any = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((2.0 / width, 0.72 / height, (width - 2.2) / width, (height - 1.72) / height))
    shares = [[math.nan if cell.value is None else cell.value for cell in row] for row in transfer.matrix]
    axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    for place, row in enumerate(transfer.matrix):
        for column, cell in enumerate(row):
            dark = cell.value is not None and cell.value < 0.55
            shown = "not measured" if cell.value is None else f"{cell.value:.2f}"
            bounds = "" if cell.ci is None else f"\n[{cell.ci[0]:.2f}, {cell.ci[1]:.2f}]"
            weight = "bold" if place == column + 1 else "normal"
            colour = "white" if dark else INK
            axes.text(column, place, shown + bounds, ha="center", va="center", fontsize=8, color=colour, weight=weight)
    labels = [f"after {stage.preference}\n(update {stage.last_update})" for stage in transfer.stages]
    axes.set_yticks(range(rows), ["base model", *labels], fontsize=8, color=INK)
    axes.set_xticks(range(columns), transfer.preferences, fontsize=8.5, color=INK)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.text(0.15 / width, 1 - 0.3 / height, "Held-out compliance, stage after stage", fontsize=11, color=INK)
    bwt = transfer.numbers["bwt"]
    if bwt.value is not None and bwt.ci is not None:
        said = f"backward transfer {signed(bwt.value, 2)} [{signed(bwt.ci[0], 2)}, {signed(bwt.ci[1], 2)}]"
        figure.text(0.15 / width, 1 - 0.52 / height, said, fontsize=9, color=INK)
    figure.text(0.15 / width, 0.12 / height, textwrap.fill(caption, int(width * 17)), fontsize=6.5, color="#666666")
    return _saved(figure, kind)


def _caption(run_id: str, config: EvalConfig) -> str:
    training = config.training
    return " · ".join(
        [
            f"run {run_id}",
            str(config.base_model),
            f"learning rate {training.learning_rate}",
            f"{config.batch_size} answers × {training.steps_per_batch} optimiser steps per update",
            f"alpha {training.alpha:g}",
            f"seed {config.seed}",
        ]
    )


def write_picture(path: Path, data: bytes) -> None:
    """Replace the file in one step."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.tmp")
        staged.write_bytes(data)
        staged.replace(path)


def without_constants(picture: Picture, histories: Mapping[str, History]) -> tuple[Picture, dict[str, float]]:
    """The picture without the panels on which nothing ever changes, and their values by title."""
    if not picture.names_constants:
        return picture, {}
    constants: dict[str, float] = {}
    for panel in picture.panels:
        values = [value for history in histories.values() for value in panel.points(history).values()]
        if len(values) > 1 and len(set(values)) == 1 and math.isfinite(values[0]):
            constants[panel.title] = values[0]
    changing = [panel for panel in picture.panels if panel.title not in constants]
    drawn = any(panel.measured(history) for panel in changing for history in histories.values())
    return (replace(picture, panels=changing), constants) if drawn else (picture, {})


def _said_of(
    picture: Picture, constants: Mapping[str, float], histories: Mapping[str, History], confidence: float
) -> Iterable[str]:
    """What has to be said below a picture: which curves have a band, and what is not drawn."""
    shown = [panel for panel in picture.panels if any(map(panel.measured, histories.values()))]
    bare = [panel.title for panel in shown if not any(map(panel.intervals, histories.values()))]
    if len(bare) < len(shown):
        none = f"; none for {', '.join(bare)}" if bare else ""
        yield f"bands: {100 * confidence:g} % confidence{none}"
    if constants:
        yield f"constant: {', '.join(f'{title} {_plain(value)}' for title, value in constants.items())}"


DOTS_PER_INCH = 180
INK = "#333333"
_ALARM = "#B2182B"
_LONGEST_TITLE = 32


def draw(picture: Picture, histories: Mapping[str, History], caption: str, kind: str = PNG) -> bytes | None:
    """The picture in a format; None when none of its panels has data."""
    panels = [panel for panel in picture.panels if any(panel.measured(history) for history in histories.values())]
    if not panels:
        return None
    columns = min(picture.columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    page = Sheet(columns, rows)
    figure: Any = Figure(figsize=(page.width, page.height))  # matplotlib is typed in part only
    FigureCanvasAgg(figure)
    for index, panel in enumerate(panels):
        _draw_panel(figure.add_axes(page.place(index)), panel, histories)
    _dress(figure, page, picture.title, histories, caption)
    return _saved(figure, kind)


_METADATA: Mapping[str, dict[str, None]] = {
    PNG: {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
"""What would differ from one drawing of the same numbers to the next."""


def _saved(figure: Any, kind: str) -> bytes:
    """The figure in a format, with its letters in it: as outlines in SVG, as embedded TrueType fonts in PDF."""
    file = BytesIO()
    with _matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "claas"}):
        figure.savefig(file, format=kind, dpi=DOTS_PER_INCH, metadata=_METADATA[kind])
    return file.getvalue()


@dataclass(frozen=True)
class Sheet:
    """Where panels lie, in inches: fixed, so that every picture of every run has its axes in the same place."""

    columns: int
    rows: int
    across: float = 3.0
    down: float = 2.1
    left: float = 0.68
    beside: float = 0.8
    beneath: float = 0.85
    head: float = 0.95
    foot: float = 0.78

    @property
    def width(self) -> float:
        return max(5.2, self.left + self.columns * (self.across + self.beside) - self.beside + 0.2)

    @property
    def height(self) -> float:
        return self.head + self.rows * (self.down + self.beneath) - self.beneath + self.foot

    def place(self, index: int) -> tuple[float, float, float, float]:
        """Left, bottom, width, height of a panel as shares of the page."""
        row, column = divmod(index, self.columns)
        left = self.left + column * (self.across + self.beside)
        bottom = self.height - self.head - self.down - row * (self.down + self.beneath)
        across = max(self.across, self.width - self.left - 0.2) if self.columns == 1 else self.across
        return left / self.width, bottom / self.height, across / self.width, self.down / self.height


def _draw_panel(axes: Any, panel: Panel, histories: Mapping[str, History]) -> None:
    dress_axes(axes, panel.title, panel.label, "feedback updates (0 = baseline)")
    if panel.threshold is not None:
        axes.set_title(f"╌╌ {panel.threshold.label}", fontsize=7.5, color=INK, loc="right")
    planned = max(history.planned_steps for history in histories.values())
    margin = 0.03 * planned + 0.1
    axes.set_xlim(-margin, planned + margin)
    for index, history in enumerate(histories.values()):
        shift = index / (len(histories) - 1) - 0.5 if len(histories) > 1 else 0.0
        _draw_curve(axes, panel, history, index, shift)
    _set_limits(axes, panel)
    _draw_threshold(axes, panel, histories)


def dress_axes(axes: Any, title: str, label: str, steps: str) -> None:
    """Title, labels, ticks and grid, the same for all that is drawn over steps."""
    axes.set_title(textwrap.fill(title, _LONGEST_TITLE), fontsize=9.5, color=INK, loc="left")
    axes.set_ylabel(label, fontsize=8.5, color=INK)
    axes.set_xlabel(steps, fontsize=8.5, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 4, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_curve(axes: Any, panel: Panel, history: History, index: int, shift: float) -> None:
    """`shift` in [-.5, .5] sets curves that coincide a hair apart."""
    points = panel.points(history)
    if not panel.measured(history):
        return
    at = [updates + 0.012 * history.planned_steps * shift for updates in points]
    axes.plot(at, list(points.values()), **_style(index), markersize=3.4, linewidth=1.3, zorder=3)
    intervals = panel.intervals(history)
    low = [interval.low if (interval := intervals.get(updates)) else math.nan for updates in points]
    high = [interval.high if (interval := intervals.get(updates)) else math.nan for updates in points]
    axes.fill_between(at, low, high, color=_colour(index), alpha=0.15, linewidth=0, zorder=2)


def _set_limits(axes: Any, panel: Panel) -> None:
    bottom, top = axes.get_ylim()
    if panel.threshold and panel.threshold.of_baseline is None:
        at = panel.threshold.at
        room = 0.1 * (max(top, at) - min(bottom, at))
        bottom, top = min(bottom, at - room), max(top, at + room)
    low, high = panel.limits
    axes.set_ylim(bottom if low is None else low, top if high is None else high)


def _draw_threshold(axes: Any, panel: Panel, histories: Mapping[str, History]) -> None:
    threshold = panel.threshold
    if threshold is None:
        return
    for at, index in panel.lines(histories.values()):
        axes.axhline(at, color=INK if index is None else _colour(index), linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
    if threshold.alarm:
        bottom, top = axes.get_ylim()
        edges = (bottom, threshold.at) if threshold.above else (threshold.at, top)
        axes.axhspan(*edges, color=_ALARM, alpha=0.07, linewidth=0, zorder=0)
        axes.set_ylim(bottom, top)


def _dress(figure: Any, page: Sheet, title: str, histories: Mapping[str, History], caption: str) -> None:
    handles: list[Any] = []
    for index, history in enumerate(histories.values()):
        handles.append(Line2D([], [], **_style(index), markersize=4, linewidth=1.3, label=_legend(history)))
    _head(figure, page, title, handles, caption)


def _head(figure: Any, page: Sheet, title: str, handles: Sequence[Any], caption: str) -> None:
    edge = 0.1 / page.width
    figure.text(edge, 1 - 0.1 / page.height, title, fontsize=11, color="black", ha="left", va="top")
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.3 / page.height),
        ncols=len(handles),
        fontsize=8.5,
        frameon=False,
        columnspacing=1.4,
    )
    small = textwrap.fill(caption, int(page.width * 20))
    figure.text(edge, 0.1 / page.height, small, fontsize=6.5, color="#666666", ha="left", va="bottom")


_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("solid", "dashed", "dotted", "dashdot")


def _style(index: int) -> dict[str, Any]:
    style = curve_style(index)
    return {"color": COLOURS[style.colour], "marker": _MARKERS[style.marker], "linestyle": _DASHES[style.dash]}


def _colour(index: int) -> str:
    return COLOURS[curve_style(index).colour]


def _legend(history: History) -> str:
    return history.preference if history.status is Status.COMPLETE else f"{history.preference} ({history.progress})"


def _plain(value: float, _: int = 0) -> str:
    return f"{value:.4g}".replace("-", "−")
