"""A new engine as its author would write it: one folder, which `MODES` names in one line."""

from pathlib import Path

from claas.engines.base import Engine, EngineSettings
from tests.fakes.engine import FakeEngine


def require_startable() -> None:
    """A toy needs no key."""


def open_engine(config: EngineSettings) -> Engine:
    """Open the toy on its own part of the store."""
    assert config.base_model_name == "fake-base"
    return FakeEngine(Path(config.store_dir) / "toy")
