"""The plots of an aggregate: every seed as a thin line, their mean as a thick one with its band, who still waits."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D

from claas.results.aggregate import Aggregate, CurveOverSeeds, SettingOverSeeds
from claas.results.figure import dress_axes, head
from claas.results.look import Look, look_of, new_figure, saved
from claas.results.settings import PNG, SCREEN
from claas.results.survival import Survival


def aggregate_plots(made: Aggregate, kind: str = PNG, style: str = SCREEN) -> dict[str, bytes]:
    """A picture in a format for each preference that has a curve, by its name."""
    look = look_of(style)
    names = dict.fromkeys(name for setting in made.settings for name in setting.preferences)
    return {name: plot for name in names if (plot := _plot(name, made, look, kind)) is not None}


def _plot(name: str, made: Aggregate, look: Look, kind: str) -> bytes | None:
    settings = [setting for setting in made.settings if name in setting.preferences]
    keys = dict.fromkeys(key for setting in settings for key in setting.preferences[name].curves)
    survivals = _survivals(name, settings)
    panels = len(keys) + len(survivals)
    if not keys:
        return None
    labels = [_legend(made, setting) for setting in settings]
    if look.in_print and len(labels) == 1:
        labels = []
    page = look.sheet(panels, 3, labels)
    with look.drawing():
        figure = new_figure(page)
        for place, key in enumerate(keys):
            curves = {number: setting.preferences[name].curves.get(key) for number, setting in enumerate(settings)}
            found = {number: each for number, each in curves.items() if each}
            _draw_curves(figure.add_axes(page.place(place)), found, look)
        for place, (title, waiting) in enumerate(survivals.items(), start=len(keys)):
            _draw_waiting(figure.add_axes(page.place(place)), title, waiting, look)
        handles = [Line2D([], [], **_mean(look, number), label=label) for number, label in enumerate(labels)]
        head(figure, page, f"{name}, over seeds", handles, _said(made), look)
        return saved(figure, kind)


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


def _mean(look: Look, number: int) -> dict[str, Any]:
    """How the mean of a setting is drawn: without markers, among so many thin lines."""
    return {**look.curve(number), "marker": "", "linewidth": 1.4 * look.rc["lines.linewidth"]}


def _draw_curves(axes: Any, curves: Mapping[int, CurveOverSeeds], look: Look) -> None:
    for number, curve in curves.items():
        colour = look.colour(number)
        for values in curve.by_seed.values():
            axes.plot(curve.updates, _numbers(values), color=colour, alpha=0.45, linewidth=0.6, zorder=2)
        axes.plot(curve.updates, _numbers(curve.mean), **_mean(look, number), zorder=4)
        low, high = (_numbers([band and band[end] for band in curve.band]) for end in (0, 1))
        axes.fill_between(curve.updates, low, high, color=colour, alpha=0.15, linewidth=0, zorder=1)
    first = next(iter(curves.values()))
    dress_axes(axes, first.title, first.unit or "", "feedback updates (0 = baseline)", look)
    _keep_to_the_lines(axes, curves)


def _keep_to_the_lines(axes: Any, curves: Mapping[int, CurveOverSeeds]) -> None:
    """The band of few seeds is so wide that nothing else would be seen: the axis shows half as much again as all seeds
    need."""
    rows = [values for curve in curves.values() for values in curve.by_seed.values()]
    known = [value for values in rows for value in values if value is not None]
    room = 0.5 * (max(known) - min(known)) or 0.05 * abs(known[0]) or 1.0
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, min(known) - room), min(top, max(known) + room))


def _draw_waiting(axes: Any, title: str, waiting: Mapping[int, Survival], look: Look) -> None:
    for number, survival in waiting.items():
        at, shares = zip(*survival.waiting, (max(survival.restricted_to, survival.waiting[-1][0]), None), strict=True)
        shares = [*shares[:-1], shares[-2]]
        axes.step(at, shares, where="post", **_mean(look, number))
        if survival.median is not None:
            axes.plot([survival.median], [0.5], **look.curve(number))
    axes.set_ylim(-0.03, 1.03)
    dress_axes(axes, title, "share of seeds (Kaplan-Meier)", "interactions", look)


def _said(made: Aggregate) -> str:
    bands = f"bands: {100 * made.confidence:g} % confidence of the mean over seeds, on the same items"
    return " · ".join([f"thin: one seed each; {bands}", *made.notes])


def _legend(made: Aggregate, setting: SettingOverSeeds) -> str:
    count = len(setting.runs)
    seeds = f"{count} {'seed' if count == 1 else 'seeds'}"
    return seeds if made.by is None else f"{made.by}={setting.value} ({seeds})"


def _numbers(values: Sequence[float | None]) -> list[float]:
    """NaN, which is drawn as a gap, where nothing was measured."""
    return [math.nan if value is None else value for value in values]
