"""From the configured mode to a running engine."""

from pathlib import Path

from claas.api.config import ApiConfig
from claas.core.errors import InvalidInput, MissingExtra
from claas.engines.base import Engine

_LOCAL_PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers")


def open_engine(config: ApiConfig) -> Engine:
    """Start the engine of `config.mode`. `MissingExtra` when what it runs on is not installed."""
    require_known_mode(config.mode)
    return _open_local(config)


def require_known_mode(mode: str) -> None:
    """Raise `InvalidInput` on a mode that has no engine here, before anything is started or written."""
    if mode != "local":
        raise InvalidInput(f"mode={mode} is not part of this version, which has mode=local only")


def _open_local(config: ApiConfig) -> Engine:
    try:
        from claas.engines.local.engine import LocalEngine
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _LOCAL_PACKAGES:
            raise
        raise MissingExtra(package, "local") from error
    return LocalEngine.open(
        config.base_model_name, Path(config.store_dir) / "adapters", lock_timeout_s=config.lock_timeout_s
    )
