"""The Tinker engine: training and sampling at a hosted service, with the versions recorded here."""

import os
from pathlib import Path
from typing import Protocol

from claas.engines.base import Engine, EngineSettings
from claas.engines.tinker.names import KEY_VARIABLE, require_key


class TinkerSettings(EngineSettings, Protocol):
    """The settings that this engine reads from the API's configuration."""

    @property
    def tinker_base_url(self) -> str | None: ...

    @property
    def tinker_timeout_s(self) -> float: ...

    @property
    def keep_versions(self) -> str: ...


def require_startable() -> None:
    """Raise `InvalidInput` where there is no key in the environment, or none of Tinker's."""
    require_key(os.environ.get(KEY_VARIABLE))


def open_engine(config: TinkerSettings) -> Engine:
    """Begin a session at the service and restore the versions in the store."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it regrets that torch is not installed
    from claas.engines.tinker.engine import TinkerEngine

    return TinkerEngine.open(
        config.base_model_name,
        Path(config.store_dir) / "tinker",
        key=os.environ.get(KEY_VARIABLE),
        base_url=config.tinker_base_url,
        keep_last=config.keep_versions == "last",
        timeout_s=config.tinker_timeout_s,
        lock_timeout_s=config.lock_timeout_s,
    )
