"""The PNG files of a run."""

import re
from pathlib import Path

from claas.core.errors import NotFound
from claas.eval.run.files import RunFiles

_NAME = re.compile(r"[a-z0-9_-]{1,64}")


def picture_names(folder: Path) -> list[str]:
    """The pictures in the run's plots folder, by name; files that a run does not make are none."""
    return sorted(path.stem for path in RunFiles(folder).plots.glob("*.png") if _is_picture(path))


def plot_file(folder: Path, picture: str) -> Path:
    """The file of a picture, by its name; `NotFound` when the run has none of that name."""
    path = RunFiles(folder).plots / f"{picture}.png"
    if not _NAME.fullmatch(picture) or not _is_picture(path):
        raise NotFound(f"the run has no picture called {picture[:64]!r}")
    return path


def _is_picture(path: Path) -> bool:
    """Links are not followed."""
    whole = bool(_NAME.fullmatch(path.stem)) and path.is_file()
    return whole and not path.is_symlink() and not path.parent.is_symlink()
