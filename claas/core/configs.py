"""Where the project's YAML lives: beside the package in a source checkout, inside it in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """The `configs/` directory of this installation, whatever the working directory."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"
