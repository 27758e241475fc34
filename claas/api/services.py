"""What the routes work with: the engine of the configured mode, and the stores around it."""

import asyncio
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from claas.api.aliases import Aliases
from claas.api.config import ApiConfig
from claas.api.feedback import Feedback
from claas.api.feedback_records import FeedbackLog, UsedKeys
from claas.api.models import Models
from claas.api.rollouts import RolloutStore
from claas.api.unsupported import UnknownFields
from claas.core.errors import MissingExtra
from claas.core.settings import MODES
from claas.engines.base import Engine


@dataclass(frozen=True)
class Services:
    """One running API."""

    mode: str
    engine: Engine
    models: Models
    rollouts: RolloutStore
    used_keys: UsedKeys
    feedback: Feedback
    feedback_log: FeedbackLog
    results_root: Path
    bench_root: Path
    truncate_prompt: bool
    """Whether a chat that does not fit the window is cut instead of refused."""
    unknown_fields: UnknownFields = field(default_factory=UnknownFields)
    tokenizing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held for a text beyond any window, so that a thread is left for those that are within one."""

    async def close(self) -> None:
        """Close the engine, then the stores."""
        try:
            await self.engine.close()
        finally:
            self.rollouts.close()
            self.used_keys.close()


def open_services(engine: Engine, config: ApiConfig) -> Services:
    """Open the stores of `config` around a running engine."""
    store, log = Path(config.store_dir), FeedbackLog(Path(config.feedback_log_dir))
    rollouts = RolloutStore(store / "rollouts.jsonl", config.rollout_capacity)
    used_keys = UsedKeys(store / "receipts.jsonl")
    return Services(
        mode=config.mode,
        engine=engine,
        models=Models(engine, Aliases(store / "aliases.json")),
        rollouts=rollouts,
        used_keys=used_keys,
        feedback=Feedback(engine, rollouts, used_keys, log),
        feedback_log=log,
        results_root=Path(config.results_dir),
        bench_root=Path(config.bench_dir),
        truncate_prompt=config.truncate_prompt is not None,
    )


async def services_of(request: Request) -> Services:
    """The services of the app that serves `request`."""
    services: Services = request.app.state.services
    return services


Served = Annotated[Services, Depends(services_of)]
"""A route's parameter that receives the services."""


def open_engine(config: ApiConfig) -> Engine:
    """Start the engine of `config.mode`. `MissingExtra` when what it runs on is not installed."""
    require_startable(config.mode)
    try:
        return _folder(config.mode).open_engine(config)
    except ModuleNotFoundError as error:
        raise _missing(config.mode, error) from error


def require_startable(mode: str) -> None:
    """Raise `InvalidInput` on a mode whose key or account is missing, before anything is written."""
    try:
        _folder(mode).require_startable()
    except ModuleNotFoundError as error:
        raise _missing(mode, error) from error


class _EngineFolder(Protocol):
    """What the folder of an engine offers, without importing what may not be installed."""

    def require_startable(self) -> None:
        """Raise `InvalidInput` where a key or an account is missing."""

    def open_engine(self, config: ApiConfig) -> Engine:
        """Start the engine."""
        ...


def _folder(mode: str) -> _EngineFolder:
    return cast(_EngineFolder, import_module(MODES[mode].engine))


def _missing(mode: str, error: ModuleNotFoundError) -> Exception:
    """What to install where `error` is about a package that the mode's extra brings; else `error` itself."""
    package, extra = (error.name or "").partition(".")[0], MODES[mode].extra
    return error if extra is None or package in ("", "claas") else MissingExtra(package, extra)
