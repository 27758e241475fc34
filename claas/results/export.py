"""Runs as tables in files that other programs read."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from claas.core.errors import MissingExtra
from claas.core.files import writing
from claas.core.output import say
from claas.core.text import as_no_formula
from claas.results import criteria, runs, samples, steps


def export(places: Sequence[Path], to: str, folder: Path, *, with_samples: bool = False) -> list[Path]:
    """Write the frames of `claas.results` into a folder, a file each, and say where they are."""
    tables: dict[str, Callable[[Sequence[Path]], Any]] = {"runs": runs, "steps": steps, "criteria": criteria}
    if with_samples:
        tables["samples"] = samples
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        frames = {name: table(places) for name, table in tables.items()}
    for message in dict.fromkeys(str(each.message) for each in caught):
        say("claas.results", message)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return [_written(folder / f"{name}.{to}", frame) for name, frame in frames.items()]


def _written(path: Path, frame: Any) -> Path:
    with writing(path):
        if path.suffix == ".csv":
            frame.map(as_no_formula).to_csv(path, index=False)
            return path
        try:
            frame.to_parquet(path, index=False)
        except ImportError:
            raise MissingExtra("pyarrow", "data") from None
    return path
