"""`python -m benchmarks.drift [folder]`: how much is lost where the model has drifted, for docs/drift.png.

`concise` at several learning rates and seeds, measured on the way; the runs stay in the folder, if one is named, and
are not made again. Nothing is required of the numbers: drift warns, it does not judge.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from claas.core.settings import TrainingConfig
from claas.eval.runner import run_harness
from claas.results.charts import COLOURS
from claas.results.evidence import by_item
from claas.results.keys import judged
from claas.results.look import INK, write_picture
from claas.results.records import History
from claas.results.settings import EvalConfig

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "drift.png"
RATES, SEEDS, STEPS, EVERY = (2e-4, 8e-4, 3e-3, 1e-2, 3e-2), (1, 2, 3), 4, 2
_MARKERS = ("o", "s", "^")
_stats: Any = stats  # scipy ships no types


@dataclass(frozen=True)
class Point:
    """One version: its forward KL from the base model on and off task, k3, nats a token, and what it lost."""

    rate: float
    seed: int
    updates: int
    on_task: float
    off_task: float
    lost: float

    @property
    def drift(self) -> float:
        """The sum of both."""
        return self.on_task + self.off_task


def main(folder: str | None = None) -> int:
    """Make the runs that are not there yet, print every version and draw them all."""
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            return main(made)
    points = [point for rate in RATES for seed in SEEDS for point in _points(Path(folder), rate, seed)]
    print(f"{'rate':>6} {'seed':>5} {'updates':>8} {'on task':>8} {'off task':>9} {'lost':>6}")
    for point in points:
        print(
            f"{point.rate:>6g} {point.seed:>5} {point.updates:>8} {point.on_task:>8.3f} {point.off_task:>9.3f} "
            f"{100 * point.lost:>5.1f}%"
        )
    for name in ("drift", "on_task", "off_task"):
        order = _stats.spearmanr([getattr(point, name) for point in points], [point.lost for point in points])
        print(f"rank correlation of {name} with what is lost: {float(order.statistic):.2f} ({len(points)} versions)")
    write_picture(FIGURE, _drawn(points))
    return 0


def _points(folder: Path, rate: float, seed: int) -> list[Point]:
    config = EvalConfig(
        preferences=["concise"],
        controls=[],
        metrics=["general", "drift"],
        num_steps=STEPS,
        measure_every=EVERY,
        checkpoints=[updates - 1 for updates in range(EVERY, STEPS + 1, EVERY)],
        training=TrainingConfig(learning_rate=rate),
        seed=seed,
        plots=False,
        output_dir=str(folder / f"{rate:g}-{seed}"),
    )
    history = asyncio.run(run_harness(config)).preferences["concise"]
    return [_point(history, rate, seed, updates) for updates in range(EVERY, STEPS + 1, EVERY)]


def _point(history: History, rate: float, seed: int, updates: int) -> Point:
    def value(key: str) -> float:
        found = history.curve(key)[updates]
        assert found is not None, "the embedded model loses no answer"
        return found

    return Point(
        rate=rate,
        seed=seed,
        updates=updates,
        on_task=value("drift.kl_k3"),
        off_task=value("drift.off_task_kl_k3"),
        lost=_lost(history, updates),
    )


def _lost(history: History, updates: int) -> float:
    """The share of the items that passed before training, and no longer do."""
    passed = lost = 0
    for key, criterion in judged(history.keys):
        if criterion.estimator == "retention" and key.items is not None:
            before, after = (by_item(history.rollouts(at), key.items) for at in (0, updates))
            kept = [after.get(item) == 1.0 for item, score in before.items() if score == 1.0]
            passed, lost = passed + len(kept), lost + kept.count(False)
    return lost / passed


def _drawn(points: Sequence[Point]) -> bytes:
    """Share lost over drift, as PNG; colours are learning rates and markers seeds, lines join one run's versions."""
    figure: Any = Figure(figsize=(6.4, 4.0))
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes((0.1, 0.12, 0.87, 0.8))
    for colour, rate in zip(COLOURS, RATES, strict=False):
        for marker, seed in zip(_MARKERS, SEEDS, strict=True):
            run = [point for point in points if (point.rate, point.seed) == (rate, seed)]
            drift, lost = [point.drift for point in run], [100 * point.lost for point in run]
            label = f"learning rate {rate:g}" if seed == SEEDS[0] else None
            axes.plot(drift, lost, color=colour, marker=marker, markersize=4.5, linewidth=0.7, alpha=0.85, label=label)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=2, linscale=0.6)
    axes.set_yticks([0, 2, 5, 10, 20, 50, 100], ["0", "2", "5", "10", "20", "50", "100"])
    axes.set_ylim(-0.4, 120)
    axes.set_xlabel("KL(base ‖ adapter), on task + off task, nats per token", fontsize=8.5, color=INK)
    axes.set_ylabel("items lost of what should be kept, %", fontsize=8.5, color=INK)
    axes.set_title(
        f"concise on claas-tiny after {EVERY} and {STEPS} updates; markers are the {len(SEEDS)} seeds",
        fontsize=9,
        color=INK,
        loc="left",
    )
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK)
    axes.legend(fontsize=7.5, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=140, metadata={"Software": None})
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
