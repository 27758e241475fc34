"""Checking and starting the engine of a mode, without importing the web server."""

from importlib import import_module
from typing import Protocol, cast

from claas.api.config import ApiConfig
from claas.core.errors import MissingExtra
from claas.core.settings import MODES
from claas.engines.base import Engine


def open_engine(config: ApiConfig) -> Engine:
    """Start the engine of `config.mode`. Raises `MissingExtra` if its packages are not installed."""
    require_startable(config.mode)
    try:
        return _folder(config.mode).open_engine(config)
    except ModuleNotFoundError as error:
        raise _missing(config.mode, error) from error


def require_startable(mode: str) -> None:
    """Raise `InvalidInput` for a mode whose key or account is missing, before anything is written."""
    try:
        _folder(mode).require_startable()
    except ModuleNotFoundError as error:
        raise _missing(mode, error) from error


class _EngineFolder(Protocol):
    """What the package of an engine offers, without importing packages that may not be installed."""

    def require_startable(self) -> None:
        """Raise `InvalidInput` where a key or an account is missing."""

    def open_engine(self, config: ApiConfig) -> Engine:
        """Start the engine."""
        ...


def _folder(mode: str) -> _EngineFolder:
    return cast(_EngineFolder, import_module(MODES[mode].engine))


def _missing(mode: str, error: ModuleNotFoundError) -> Exception:
    """`MissingExtra` if `error` is about a package of the mode's extra, else `error` itself."""
    package, extra = (error.name or "").partition(".")[0], MODES[mode].extra
    return error if extra is None or package in ("", "claas") else MissingExtra(package, extra)
