"""The PNG files of a run."""

import re
from pathlib import Path

from claas.core.errors import NotFound
from claas.eval.run.files import RunFiles

_NAME = re.compile(r"[a-z0-9_-]{1,64}")


def plot_file(folder: Path, picture: str) -> Path:
    """The file of a picture, by its name; `NotFound` when the run has none of that name."""
    path = RunFiles(folder).plots / f"{picture}.png"
    if not _NAME.fullmatch(picture) or not path.is_file() or path.is_symlink() or path.parent.is_symlink():
        raise NotFound(f"the run has no picture called {picture[:64]!r}")
    return path
