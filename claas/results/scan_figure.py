"""The plot of a scan: how each measure went from checkpoint to checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from claas.results.benchmarks import FIXTURE
from claas.results.charts import COLOURS
from claas.results.figure import dress_axes, head
from claas.results.look import Look, look_of, new_figure, saved, write_picture
from claas.results.scan import Scan, ScanMeasure
from claas.results.settings import PNG, SCREEN

_MEASURE, _BEST, _EARLIEST = COLOURS[0], COLOURS[1], COLOURS[2]


def write_scan_plot(scan: Scan, folder: Path, kinds: Sequence[str] = (PNG,), style: str = SCREEN) -> list[Path]:
    """Draw `scan.png`, or in these formats, into the folder, and say what was written: nothing where no checkpoint has
    a score."""
    measures = [each for each in scan.measures if any(each.name in point.scores for point in scan.checkpoints)]
    look, paths = look_of(style), {kind: folder / f"scan.{kind}" for kind in kinds}
    if not measures:
        return []
    rings = _rings(scan)
    page = look.sheet(len(measures), 3, [str(ring.get_label()) for ring in rings])
    with look.drawing():
        figure = new_figure(page)
        for place, measure in enumerate(measures):
            _draw(figure.add_axes(page.place(place)), scan, measure, look)
        head(figure, page, f"{len(scan.checkpoints)} checkpoints", rings, _said(scan), look)
        for kind, path in paths.items():
            write_picture(path, saved(figure, kind))
    return [*paths.values()]


def _draw(axes: Any, scan: Scan, measure: ScanMeasure, look: Look) -> None:
    points = [(each, each.scores[measure.name]) for each in scan.checkpoints if measure.name in each.scores]
    steps, values = [each.step for each, _ in points], [score.value for _, score in points]
    down, up = ([abs(score.ci[end] - score.value) if score.ci else 0.0 for _, score in points] for end in (0, 1))
    axes.errorbar(steps, values, (down, up), color=_MEASURE, marker="o", elinewidth=0.9, capsize=2)
    chosen = scan.selection
    if chosen is not None and (chosen.rule == measure.name or (chosen.rule == "mean" and not measure.less_is_better)):
        for name, colour, size in ((chosen.earliest, _EARLIEST, 13), (chosen.best, _BEST, 8)):
            at = [(each.step, score.value) for each, score in points if each.name == name]
            axes.plot(*zip(*at, strict=True), linestyle="none", marker="o", markersize=size, mfc="none", mec=colour)
    from_base = any(each.step == 0 and each.model == each.base_model for each in scan.checkpoints)
    label = "nats per token" if measure.name == "eval_loss" else "score"
    dress_axes(axes, measure.name, label, "step (0 = base model)" if from_base else "step", look)


def _rings(scan: Scan) -> list[Line2D]:
    """What the rings around points say."""
    chosen = scan.selection
    if chosen is None:
        return []
    found = {
        f"best by {chosen.rule}: {chosen.best}": _BEST,
        f"earliest within noise of it: {chosen.earliest}": _EARLIEST,
    }
    return [
        Line2D([], [], linestyle="none", marker="o", markersize=8, mfc="none", mec=colour, label=label)
        for label, colour in found.items()
    ]


def _said(scan: Scan) -> str:
    bases = {each.base_model for each in scan.checkpoints}
    said = [
        f"bars: {100 * scan.confidence:g} % confidence",
        *(f"base model {base}" for base in bases if len(bases) == 1),
    ]
    return " · ".join([*said, FIXTURE] if scan.fixture else said)
