"""The plots of an aggregate: every seed as a thin line, their mean as a thick one with its band, who still waits."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from claas.results.aggregate import Aggregate, CurveOverSeeds, SettingOverSeeds
from claas.results.charts import COLOURS
from claas.results.figure import DOTS_PER_INCH, INK, Sheet, dress_axes
from claas.results.survival import Survival


def aggregate_plots(made: Aggregate) -> dict[str, bytes]:
    """A PNG for each preference that has a curve, by its name."""
    names = dict.fromkeys(name for setting in made.settings for name in setting.preferences)
    return {name: plot for name in names if (plot := _plot(name, made)) is not None}


def _plot(name: str, made: Aggregate) -> bytes | None:
    settings = [setting for setting in made.settings if name in setting.preferences]
    keys = dict.fromkeys(key for setting in settings for key in setting.preferences[name].curves)
    survivals = _survivals(name, settings)
    panels = len(keys) + len(survivals)
    if not keys:
        return None
    columns = min(3, panels)
    page = Sheet(columns, math.ceil(panels / columns))
    figure: Any = Figure(figsize=(page.width, page.height))  # matplotlib is typed in part only
    FigureCanvasAgg(figure)
    for place, key in enumerate(keys):
        curves = {number: setting.preferences[name].curves.get(key) for number, setting in enumerate(settings)}
        _draw_curves(figure.add_axes(page.place(place)), {number: each for number, each in curves.items() if each})
    for place, (title, waiting) in enumerate(survivals.items(), start=len(keys)):
        _draw_waiting(figure.add_axes(page.place(place)), title, waiting)
    _dress(figure, page, name, made, settings)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


def _survivals(name: str, settings: Sequence[SettingOverSeeds]) -> dict[str, dict[int, Survival]]:
    """What somebody waited for, by the title of its panel."""
    found: dict[str, dict[int, Survival]] = {}
    for number, setting in enumerate(settings):
        preference = setting.preferences[name]
        for title, survival in (
            ("Seeds that have not learned it yet", preference.to_criterion),
            ("Seeds that still follow the first wish", preference.flip_half_life),
        ):
            if survival is not None:
                found.setdefault(title, {})[number] = survival
    return found


def _draw_curves(axes: Any, curves: Mapping[int, CurveOverSeeds]) -> None:
    for number, curve in curves.items():
        colour = COLOURS[number]
        for values in curve.by_seed.values():
            axes.plot(curve.updates, _numbers(values), color=colour, alpha=0.45, linewidth=0.6, zorder=2)
        axes.plot(curve.updates, _numbers(curve.mean), color=colour, linewidth=1.8, zorder=4)
        low, high = (_numbers([band and band[end] for band in curve.band]) for end in (0, 1))
        axes.fill_between(curve.updates, low, high, color=colour, alpha=0.15, linewidth=0, zorder=1)
    first = next(iter(curves.values()))
    dress_axes(axes, first.title, first.unit or "", "feedback updates (0 = baseline)")
    _keep_to_the_lines(axes, curves)


def _keep_to_the_lines(axes: Any, curves: Mapping[int, CurveOverSeeds]) -> None:
    """The band of few seeds is so wide that nothing else would be seen: the axis shows half as much again as all seeds
    need."""
    rows = [values for curve in curves.values() for values in curve.by_seed.values()]
    known = [value for values in rows for value in values if value is not None]
    room = 0.5 * (max(known) - min(known)) or 0.05 * abs(known[0]) or 1.0
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, min(known) - room), min(top, max(known) + room))


def _draw_waiting(axes: Any, title: str, waiting: Mapping[int, Survival]) -> None:
    for number, survival in waiting.items():
        at, shares = zip(*survival.waiting, (max(survival.restricted_to, survival.waiting[-1][0]), None), strict=True)
        shares = [*shares[:-1], shares[-2]]
        axes.step(at, shares, where="post", color=COLOURS[number], linewidth=1.6)
        if survival.median is not None:
            axes.plot([survival.median], [0.5], color=COLOURS[number], marker="o", markersize=3.4)
    axes.set_ylim(-0.03, 1.03)
    dress_axes(axes, title, "share of seeds (Kaplan-Meier)", "interactions")


def _dress(figure: Any, page: Sheet, name: str, made: Aggregate, settings: Sequence[SettingOverSeeds]) -> None:
    handles = [
        Line2D([], [], color=COLOURS[number], linewidth=1.8, label=_legend(made, setting))
        for number, setting in enumerate(settings)
    ]
    edge = 0.1 / page.width
    figure.text(edge, 1 - 0.1 / page.height, f"{name}, over seeds", fontsize=11, color="black", ha="left", va="top")
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.3 / page.height),
        ncols=len(handles),
        fontsize=8.5,
        frameon=False,
    )
    said = [
        f"thin: one seed each; bands: {100 * made.confidence:g} % confidence of the mean over seeds, on the same items",
        *made.notes,
    ]
    small = textwrap.fill(" · ".join(said), int(page.width * 20), max_lines=2)
    figure.text(edge, 0.1 / page.height, small, fontsize=6.5, color=INK, ha="left", va="bottom")


def _legend(made: Aggregate, setting: SettingOverSeeds) -> str:
    count = len(setting.runs)
    seeds = f"{count} {'seed' if count == 1 else 'seeds'}"
    return seeds if made.by is None else f"{made.by}={setting.value} ({seeds})"


def _numbers(values: Sequence[float | None]) -> list[float]:
    """NaN, which is drawn as a gap, where nothing was measured."""
    return [math.nan if value is None else value for value in values]
