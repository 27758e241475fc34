"""The checkpoints in a folder, in order of training."""

import re
from dataclasses import dataclass
from pathlib import Path

from claas.bench.convert.sources import Kind, kind_of
from claas.core.errors import InvalidInput


@dataclass(frozen=True)
class Checkpoint:
    """One of a folder's; `step` is the last number in its name, else the one after those before it."""

    name: str
    step: int
    path: Path
    kind: Kind


def checkpoints_in(place: str) -> list[Checkpoint]:
    """What is a checkpoint in that folder, by the numbers in the names; those without come last."""
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise InvalidInput(f"checkpoints: the folder {place!r} not found")
    kinds = {path: kind for path in folder.iterdir() if (kind := kind_of(path)) is not None}
    if not kinds:
        around = "; give the folder around it" if kind_of(folder) is not None else ""
        raise InvalidInput(f"{folder} holds no checkpoints ({', '.join(kind.value for kind in Kind)}){around}")
    found: list[Checkpoint] = []
    for number, _, path in sorted((*_order(path), path) for path in kinds):
        step = int(number) if number < float("inf") else (found[-1].step + 1 if found else 0)
        found.append(Checkpoint(path.name, step, path, kinds[path]))
    return found


def _order(path: Path) -> tuple[float, str]:
    numbers = re.findall(r"\d+", path.stem if path.suffix == ".gguf" else path.name)
    return (float(numbers[-1]) if numbers else float("inf")), path.name
