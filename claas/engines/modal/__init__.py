"""The Modal engine: the local engine on a GPU at Modal, asked from here."""

import os
from pathlib import Path
from typing import Protocol

from claas.core.errors import InvalidInput
from claas.core.settings import MODAL_VARIABLES
from claas.engines.base import Engine, EngineSettings
from claas.engines.modal.rpc import Deployment

_CREDENTIALS = ("token_id", "oauth_refresh_token")


class ModalSettings(EngineSettings, Protocol):
    """What the configuration says to this engine."""

    @property
    def modal_app(self) -> str | None: ...

    @property
    def modal_timeout_s(self) -> float: ...


def require_startable() -> None:
    """Raise `InvalidInput` where Modal's package knows no account."""
    from modal.config import config

    if not any(config.get(setting) for setting in _CREDENTIALS):
        raise InvalidInput(
            f"mode=modal needs a Modal account: run `modal setup`, or set {' and '.join(MODAL_VARIABLES)}"
        )


def open_engine(config: ModalSettings) -> Engine:
    """Ask the deployed app what it serves, which starts it."""
    from claas.engines.modal.engine import ModalEngine

    return ModalEngine.open(
        config.modal_app or Deployment.of(os.environ).app,
        config.base_model_name,
        Path(config.store_dir) / "modal",
        timeout_s=config.modal_timeout_s,
        lock_timeout_s=config.lock_timeout_s,
    )
