"""The embedded model: a small chat transformer that ships with the project, and everything that rebuilds it."""

from pathlib import Path

WEIGHTS_DIR: Path = Path(__file__).parent / "weights"
