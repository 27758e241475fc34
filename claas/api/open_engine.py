"""From the configured mode to a running engine."""

import os
from collections.abc import Callable
from pathlib import Path

from claas.api.config import ApiConfig
from claas.core.errors import MissingExtra
from claas.engines.base import Engine
from claas.engines.modal.rpc import Deployment, require_account
from claas.engines.tinker.names import KEY_VARIABLE, require_key

_PACKAGES = {
    "local": ("torch", "transformers", "peft", "safetensors", "tokenizers"),
    "tinker": ("tinker", "transformers", "huggingface_hub"),
    "modal": ("modal",),
}


def open_engine(config: ApiConfig) -> Engine:
    """Start the engine of `config.mode`. `MissingExtra` when what it runs on is not installed."""
    require_startable(config.mode)
    return _OPEN[config.mode](config)


def require_startable(mode: str) -> None:
    """Raise `InvalidInput` on a mode whose key or account is missing, before anything is written."""
    if mode == "tinker":
        require_key(os.environ.get(KEY_VARIABLE))
    if mode == "modal":
        require_account()


def _open_local(config: ApiConfig) -> Engine:
    try:
        from claas.engines.local.engine import LocalEngine
    except ModuleNotFoundError as error:
        _require_known(error, "local")
        raise
    return LocalEngine.open(
        config.base_model_name, Path(config.store_dir) / "adapters", lock_timeout_s=config.lock_timeout_s
    )


def _open_tinker(config: ApiConfig) -> Engine:
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it regrets that torch is not installed
    try:
        from claas.engines.tinker.engine import TinkerEngine
    except ModuleNotFoundError as error:
        _require_known(error, "tinker")
        raise
    return TinkerEngine.open(
        config.base_model_name,
        Path(config.store_dir) / "tinker",
        key=os.environ.get(KEY_VARIABLE),
        base_url=config.tinker_base_url,
        keep_last=config.keep_versions == "last",
        timeout_s=config.tinker_timeout_s,
        lock_timeout_s=config.lock_timeout_s,
    )


def _open_modal(config: ApiConfig) -> Engine:
    try:
        from claas.engines.modal.engine import ModalEngine
    except ModuleNotFoundError as error:
        _require_known(error, "modal")
        raise
    return ModalEngine.open(
        config.modal_app or Deployment.of(os.environ).app,
        config.base_model_name,
        Path(config.store_dir) / "modal",
        timeout_s=config.modal_timeout_s,
        lock_timeout_s=config.lock_timeout_s,
    )


def _require_known(error: ModuleNotFoundError, extra: str) -> None:
    """Raise `MissingExtra` where `error` is about a package that `extra` installs."""
    package = (error.name or "").partition(".")[0]
    if package in _PACKAGES[extra]:
        raise MissingExtra(package, extra) from error


_OPEN: dict[str, Callable[[ApiConfig], Engine]] = {
    "local": _open_local,
    "tinker": _open_tinker,
    "modal": _open_modal,
}
