"""`python -m benchmarks.evidence [folder]`: what SmolLM2 learns, and at what cost, for docs/real-model.png.

Drawn from the runs in the folder: by default those in data/evidence, one for each seed. Nothing is run, and nothing is
required of the numbers.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from claas import results
from claas.results.charts import COLOURS
from claas.results.look import Look, look_of, new_figure, saved, write_picture

_ROOT = Path(__file__).resolve().parents[1]
FIGURE = _ROOT / "docs" / "real-model.png"
RUNS = _ROOT / "data" / "evidence"
_CURVES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "heldout_compliance": ("held-out prompts, compliant", {"marker": "o"}),
    "in_context.heldout_compliance": (
        "the same, feedback in the prompt instead",
        {"linestyle": "--", "linewidth": 0.9},
    ),
    "over_application_rate": ("users who ask for the opposite, refused it", {"linestyle": ":", "marker": "^"}),
}
"""What is drawn of each run, one line a seed; what was measured once is a level."""


def main(folder: str | None = None) -> int:
    """Draw the figure."""
    look = look_of()
    with look.drawing():
        write_picture(FIGURE, _drawn(results.steps(folder or RUNS), look))
    return 0


def _drawn(steps: Any, look: Look) -> bytes:
    """A panel for each preference, over the updates; colours are seeds, shades the intervals of held-out prompts."""
    preferences: Sequence[str] = list(dict.fromkeys(steps.preference))
    labels = [label for label, _ in _CURVES.values()]
    page = look.sheet(len(preferences), len(preferences), labels, foot=0.62)
    figure = new_figure(page)
    for place, preference in enumerate(preferences):
        axes = figure.add_axes(page.place(place))
        for colour, (seed, run) in zip(COLOURS, steps[steps.preference == preference].groupby("seed"), strict=False):
            for key, (label, style) in _CURVES.items():
                _draw(axes, run[(run.key == key) & run.value.notna()], f"{label}, seed {seed}", colour, style)
        axes.set_ylim(-0.03, 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("updates")
        axes.set_title(preference)
    figure.axes[0].set_ylabel("share")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=2)
    return saved(figure, "png")


def _draw(axes: Any, points: Any, label: str, colour: str, style: Mapping[str, Any]) -> None:
    if len(points) == 1:
        axes.axhline(points.value.iloc[0], color=colour, label=label, **style)
        return
    axes.plot(points["update"], points.value, color=colour, label=label, **style)
    if style.get("linestyle") is None:
        axes.fill_between(points["update"], points.low, points.high, color=colour, alpha=0.12, linewidth=0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
