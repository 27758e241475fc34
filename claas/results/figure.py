"""The pictures as files, drawn with matplotlib: PNG, and PDF and SVG for papers."""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from claas.results.charts import Intervals, Panel, Picture, from_transcripts, pictures
from claas.results.efficiency import Flip, flip_of
from claas.results.look import INK, Look, Sheet, look_of, new_figure, saved, write_picture
from claas.results.numbers import signed
from claas.results.records import History, Status
from claas.results.run_index import read_run
from claas.results.settings import PNG, EvalConfig
from claas.results.transfer import Transfer

FOLDER = "plots"


def write_plots(
    run_dir: Path,
    run_id: str,
    config: EvalConfig,
    histories: Mapping[str, History],
    intervals: Intervals | None = None,
    *,
    transfer: Transfer | None = None,
    flips_at: Mapping[str, int | None] | None = None,
) -> list[Path]:
    """Draw every picture that there are data for into `<run_dir>/plots`, and return the files written.

    Works on a run in progress. `config` is the resolved one, whose settings stand in the caption. Without `intervals`
    they are estimated from the histories' transcripts. `transfer` is that of a sequential run. `flips_at` says after
    how many updates the user of a history changes their mind; None where they do not.
    """
    caption, look = _caption(run_id, config), look_of(config.plot_style)
    written: list[Path] = []

    def write(name: str, draw_as: Callable[[str], bytes | None]) -> None:
        for kind in config.plot_formats:
            drawn = draw_as(kind)
            if drawn is not None:
                written.append(run_dir / FOLDER / f"{name}.{kind}")
                write_picture(written[-1], drawn)

    for whole in pictures(config.criteria, histories, intervals or from_transcripts(config.confidence)):
        picture, constants = without_constants(whole, histories)
        said = " · ".join([caption, *_said_of(picture, constants, histories, config.confidence)])
        write(picture.name, partial(draw, picture, histories, said, look))
    if transfer is not None:
        brackets = f"{caption} · in brackets: {100 * config.confidence:g} % confidence"
        write("transfer", partial(draw_transfer, transfer, brackets, look))
    found = {name: flip_of(histories[name], at) for name, at in (flips_at or {}).items() if name in histories}
    if flips := {name: flip for name, flip in found.items() if flip is not None}:
        write("flip", partial(draw_flips, flips, caption, look))
    return written


def redraw(
    root: Path, formats: Sequence[str] | None = None, style: str | None = None, output: Path | None = None
) -> list[Path]:
    """Draw the pictures of the run in `root` again from its records, and return the files written.

    They go into `plots` in `output`, or in `root`. `formats` and `style` default to the run's own. `InvalidInput` where
    `root` holds no run that can be read.
    """
    run = read_run(str(root), root)
    config = replace(
        run.config, plot_formats=list(formats or run.config.plot_formats), plot_style=style or run.config.plot_style
    )
    return write_plots(
        output or root,
        run.manifest.run_id,
        config,
        run.histories,
        run.interval,
        transfer=run.summary and run.summary.transfer,
        flips_at={track.name: track.flips_at for track in run.tracks},
    )


def draw_flips(flips: Mapping[str, Flip], caption: str, look: Look, kind: str = PNG) -> bytes:
    """A panel for each user: both wishes as curves over interactions, with the flip and the half-life."""
    wishes = ("the first wish", "its opposite")
    moments: dict[str, Any] = {"the user changes their mind": "solid", "half is gone": (0, (4, 3))}
    page = look.sheet(len(flips), 3, [*wishes, *moments])
    with look.drawing():
        figure = new_figure(page)
        for index, (name, flip) in enumerate(flips.items()):
            axes = figure.add_axes(page.place(index))
            title = "" if look.in_print and len(flips) == 1 else name
            dress_axes(axes, title, "mean verifier score", "interactions (answers with feedback)", look)
            for place, curve in enumerate((flip.first, flip.opposite)):
                axes.plot(list(curve), list(curve.values()), **look.curve(place))
            axes.set_ylim(-0.03, 1.03)
            for at, dashes in zip((flip.at, flip.half_gone), moments.values(), strict=True):
                if at is not None:
                    axes.axvline(at, color=INK, linestyle=dashes, linewidth=0.9)
            if flip.half_gone is not None:
                axes.set_title(f"half-life {flip.half_gone - flip.at:.3g}", fontsize=look.small, loc="right")
        handles = [Line2D([], [], **look.curve(place), label=wish) for place, wish in enumerate(wishes)]
        for label, dashes in moments.items():
            if label != "half is gone" or any(flip.half_gone is not None for flip in flips.values()):
                handles.append(Line2D([], [], color=INK, linestyle=dashes, linewidth=0.9, label=label))
        head(figure, page, "Both wishes of a changed mind, on the same answers", handles, caption, look)
        return saved(figure, kind)


def draw_transfer(transfer: Transfer, caption: str, look: Look, kind: str = PNG) -> bytes:
    """The matrix as a heat map with its numbers: a column for each preference, a row for each stage."""
    columns, rows = len(transfer.preferences), len(transfer.matrix)
    above, below = (0.3, 0.06) if look.in_print else (1.0, 0.72)
    beside, across, down = (1.0, 0.75, 0.42) if look.in_print else (2.0, 1.35, 0.62)
    width = max(3.3 if look.in_print else 5.2, beside + 0.2 + across * columns)
    page = Sheet(1, 1, across=width - beside - 0.2, down=down * rows, left=beside, head=above, foot=below, least=width)
    with look.drawing():
        figure = new_figure(page)
        axes = figure.add_axes(page.place(0))
        _draw_matrix(axes, transfer, look)
        if not look.in_print:
            edge = 0.15 / page.width
            size = look.rc["figure.titlesize"]
            figure.text(edge, 1 - 0.3 / page.height, "Held-out compliance, stage after stage", fontsize=size)
            bwt = transfer.numbers["bwt"]
            if bwt.value is not None and bwt.ci is not None:
                said = f"backward transfer {signed(bwt.value, 2)} [{signed(bwt.ci[0], 2)}, {signed(bwt.ci[1], 2)}]"
                figure.text(edge, 1 - 0.52 / page.height, said, fontsize=9)
            small = textwrap.fill(caption, int(page.width * 17))
            figure.text(edge, 0.12 / page.height, small, fontsize=6.5, color="#666666")
        return saved(figure, kind)


def _draw_matrix(axes: Any, transfer: Transfer, look: Look) -> None:
    columns, rows = len(transfer.preferences), len(transfer.matrix)
    shares = [[math.nan if cell.value is None else cell.value for cell in row] for row in transfer.matrix]
    axes.grid(visible=False)
    axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    for place, row in enumerate(transfer.matrix):
        for column, cell in enumerate(row):
            dark = cell.value is not None and cell.value < 0.55
            shown = "not measured" if cell.value is None else f"{cell.value:.2f}"
            bounds = "" if cell.ci is None else f"\n[{cell.ci[0]:.2f}, {cell.ci[1]:.2f}]"
            weight = "bold" if place == column + 1 else "normal"
            colour, size = "white" if dark else INK, look.small
            axes.text(
                column, place, shown + bounds, ha="center", va="center", fontsize=size, color=colour, weight=weight
            )
    labels = [f"after {stage.preference}\n(update {stage.last_update})" for stage in transfer.stages]
    axes.set_yticks(range(rows), ["base model", *labels])
    axes.set_xticks(range(columns), transfer.preferences)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


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


_ALARM = "#B2182B"
_LONGEST_TITLE = 32


def draw(picture: Picture, histories: Mapping[str, History], caption: str, look: Look, kind: str = PNG) -> bytes | None:
    """The picture in a format; None when none of its panels has data."""
    panels = [panel for panel in picture.panels if any(panel.measured(history) for history in histories.values())]
    if not panels:
        return None
    labels = [_legend(history) for history in histories.values()]
    if look.in_print and len(labels) == 1:
        labels = []
    page = look.sheet(len(panels), picture.columns, labels)
    with look.drawing():
        figure = new_figure(page)
        for index, panel in enumerate(panels):
            title = "" if look.in_print and len(panels) == 1 else panel.title
            _draw_panel(figure.add_axes(page.place(index)), panel, histories, look, title)
        handles = [Line2D([], [], **look.curve(index), label=label) for index, label in enumerate(labels)]
        head(figure, page, picture.title, handles, caption, look)
        return saved(figure, kind)


def _draw_panel(axes: Any, panel: Panel, histories: Mapping[str, History], look: Look, title: str) -> None:
    dress_axes(axes, title, panel.label, "feedback updates (0 = baseline)", look)
    if panel.threshold is not None:
        axes.set_title(f"╌╌ {panel.threshold.label}", fontsize=look.small, loc="right")
    planned = max(history.planned_steps for history in histories.values())
    margin = 0.03 * planned + 0.1
    axes.set_xlim(-margin, planned + margin)
    for index, history in enumerate(histories.values()):
        shift = index / (len(histories) - 1) - 0.5 if len(histories) > 1 else 0.0
        _draw_curve(axes, panel, history, look.curve(index), shift)
    _set_limits(axes, panel)
    _draw_threshold(axes, panel, histories, look)


def dress_axes(axes: Any, title: str, label: str, steps: str, look: Look) -> None:
    """Title, labels and ticks, the same for all that is drawn over steps."""
    axes.set_title(textwrap.fill(title, _LONGEST_TITLE), linespacing=0.85 if look.in_print else 1.2)
    axes.set_ylabel(textwrap.fill(label, 24) if look.in_print else label)
    axes.set_xlabel(steps)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 4, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))


def _draw_curve(axes: Any, panel: Panel, history: History, style: Mapping[str, Any], shift: float) -> None:
    """`shift` in [-.5, .5] sets curves that coincide a hair apart."""
    points = panel.points(history)
    if not panel.measured(history):
        return
    at = [updates + 0.012 * history.planned_steps * shift for updates in points]
    axes.plot(at, list(points.values()), **style, zorder=3)
    intervals = panel.intervals(history)
    low = [interval.low if (interval := intervals.get(updates)) else math.nan for updates in points]
    high = [interval.high if (interval := intervals.get(updates)) else math.nan for updates in points]
    axes.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0, zorder=2)


def _set_limits(axes: Any, panel: Panel) -> None:
    bottom, top = axes.get_ylim()
    if panel.threshold and panel.threshold.of_baseline is None:
        at = panel.threshold.at
        room = 0.1 * (max(top, at) - min(bottom, at))
        bottom, top = min(bottom, at - room), max(top, at + room)
    low, high = panel.limits
    axes.set_ylim(bottom if low is None else low, top if high is None else high)


def _draw_threshold(axes: Any, panel: Panel, histories: Mapping[str, History], look: Look) -> None:
    threshold = panel.threshold
    if threshold is None:
        return
    for at, index in panel.lines(histories.values()):
        colour = INK if index is None else look.colour(index)
        axes.axhline(at, color=colour, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
    if threshold.alarm:
        bottom, top = axes.get_ylim()
        edges = (bottom, threshold.at) if threshold.above else (threshold.at, top)
        axes.axhspan(*edges, color=_ALARM, alpha=0.07, linewidth=0, zorder=0)
        axes.set_ylim(bottom, top)


def head(figure: Any, page: Sheet, title: str, handles: Sequence[Any], caption: str, look: Look) -> None:
    """The legend and, unless a caption in print says it, what the picture shows, and of what."""
    edge, top = 0.1 / page.width, 1 - (0.05 if look.in_print else 0.3) / page.height
    if handles:
        columns = look.legend_columns(page.width, [str(handle.get_label()) for handle in handles])
        figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0.06 / page.width, top), ncols=columns, borderaxespad=0.1
        )
    if look.in_print:
        return
    size = look.rc["figure.titlesize"]
    figure.text(edge, 1 - 0.1 / page.height, title, fontsize=size, color="black", ha="left", va="top")
    small = textwrap.fill(caption, int(page.width * 20))
    figure.text(edge, 0.1 / page.height, small, fontsize=6.5, color="#666666", ha="left", va="bottom")


def _legend(history: History) -> str:
    return history.preference if history.status is Status.COMPLETE else f"{history.preference} ({history.progress})"


def _plain(value: float, _: int = 0) -> str:
    return f"{value:.4g}".replace("-", "−")
