"""The local engine: a Hugging Face model on this machine that answers, scores and learns through LoRA adapters.

Importing any module of this package without the `local` extra raises `MissingExtra`, which names what to install.
"""

from importlib.util import find_spec
from pathlib import Path

from claas.core.errors import MissingExtra
from claas.engines.base import Engine, EngineSettings

for _package in ("torch", "transformers", "peft", "safetensors"):
    if find_spec(_package) is None:
        raise MissingExtra(_package, "local")


def require_startable() -> None:
    """A model on this machine needs neither a key nor an account."""


def open_engine(config: EngineSettings) -> Engine:
    """Load the base model and restore the adapters in the store."""
    from claas.engines.local.engine import LocalEngine

    root = Path(config.store_dir) / "adapters"
    return LocalEngine.open(
        config.base_model_name,
        root,
        lock_timeout_s=config.lock_timeout_s,
        check_model=config.check_model,
        dtype=config.dtype,
    )
