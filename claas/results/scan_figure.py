"""The plot of a scan: how each measure went from checkpoint to checkpoint."""

import math
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from claas.results.benchmarks import FIXTURE
from claas.results.charts import COLOURS
from claas.results.figure import DOTS_PER_INCH, INK, Sheet, dress_axes, write_picture
from claas.results.scan import Scan, ScanMeasure

_MEASURE, _BEST, _EARLIEST = COLOURS[0], COLOURS[1], COLOURS[2]


def write_scan_plot(scan: Scan, folder: Path) -> Path | None:
    """Draw `scan.png` into the folder; None where no checkpoint has a score."""
    measures = [each for each in scan.measures if any(each.name in point.scores for point in scan.checkpoints)]
    if not measures:
        return None
    columns = min(3, len(measures))
    page = Sheet(columns, math.ceil(len(measures) / columns), foot=0.9)
    figure: Any = Figure(figsize=(page.width, page.height))  # matplotlib is typed in part only
    FigureCanvasAgg(figure)
    for place, measure in enumerate(measures):
        _draw(figure.add_axes(page.place(place)), scan, measure)
    _caption(figure, page, scan)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    write_picture(folder / "scan.png", file.getvalue())
    return folder / "scan.png"


def _draw(axes: Any, scan: Scan, measure: ScanMeasure) -> None:
    points = [(each, each.scores[measure.name]) for each in scan.checkpoints if measure.name in each.scores]
    steps, values = [each.step for each, _ in points], [score.value for _, score in points]
    down, up = ([abs(score.ci[end] - score.value) if score.ci else 0.0 for _, score in points] for end in (0, 1))
    axes.errorbar(
        steps, values, (down, up), color=_MEASURE, marker="o", markersize=3.4, linewidth=1.3, elinewidth=0.9, capsize=2
    )
    chosen = scan.selection
    if chosen is not None and (chosen.rule == measure.name or (chosen.rule == "mean" and not measure.less_is_better)):
        for name, colour, size in ((chosen.earliest, _EARLIEST, 13), (chosen.best, _BEST, 8)):
            at = [(each.step, score.value) for each, score in points if each.name == name]
            axes.plot(*zip(*at, strict=True), linestyle="none", marker="o", markersize=size, mfc="none", mec=colour)
    from_base = any(each.step == 0 and each.model == each.base_model for each in scan.checkpoints)
    label = "nats per token" if measure.name == "eval_loss" else "score"
    dress_axes(axes, measure.name, label, "step (0 = base model)" if from_base else "step")


def _caption(figure: Any, page: Sheet, scan: Scan) -> None:
    edge = 0.1 / page.width
    figure.text(edge, 1 - 0.1 / page.height, f"{len(scan.checkpoints)} checkpoints", fontsize=11, ha="left", va="top")
    chosen, rings = scan.selection, list[Any]()
    if chosen is not None:
        for colour, label in (
            (_BEST, f"best by {chosen.rule}: {chosen.best}"),
            (_EARLIEST, f"earliest within noise of it: {chosen.earliest}"),
        ):
            rings.append(
                Line2D([], [], linestyle="none", marker="o", markersize=8, mfc="none", mec=colour, label=label)
            )
        figure.legend(
            handles=rings,
            loc="upper left",
            bbox_to_anchor=(0.0, 1 - 0.3 / page.height),
            ncols=len(rings),
            fontsize=8.5,
            frameon=False,
        )
    bases = {each.base_model for each in scan.checkpoints}
    said = [
        f"bars: {100 * scan.confidence:g} % confidence",
        *(f"base model {base}" for base in bases if len(bases) == 1),
    ]
    said += [FIXTURE] if scan.fixture else []
    figure.text(edge, 0.1 / page.height, " · ".join(said), fontsize=6.5, color=INK, ha="left", va="bottom")
