"""The pictures of a run as PNG files in its folder."""

from collections.abc import Mapping
from pathlib import Path

from claas.core.files import writing
from claas.eval.history import History
from claas.eval.plots.figure import draw
from claas.eval.plots.intervals import from_transcripts
from claas.eval.plots.pictures import pictures
from claas.eval.types import EvalConfig

FOLDER = "plots"


def write_plots(run_dir: Path, run_id: str, config: EvalConfig, histories: Mapping[str, History]) -> list[Path]:
    """Draw every picture there are data for into `<run_dir>/plots`, and say which were written.

    Works on a run in progress. `config` is the resolved one, whose settings stand in the caption.
    """
    criteria = config.criteria
    caption, bands = _caption(run_id, config), f"bands: {100 * criteria.confidence:g} % confidence"
    written: list[Path] = []
    for picture in pictures(criteria, histories, from_transcripts(criteria.confidence)):
        png = draw(picture, histories, f"{caption} · {bands}" if any(each.band for each in picture.panels) else caption)
        if png is not None:
            written.append(run_dir / FOLDER / f"{picture.name}.png")
            _write(written[-1], png)
    return written


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


def _write(path: Path, data: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.tmp")
        staged.write_bytes(data)
        staged.replace(path)
