"""The services that routes work with: a running engine, and the stores around it."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from claas.api.aliases import Aliases
from claas.api.config import ApiConfig
from claas.api.feedback import Feedback
from claas.api.feedback_records import FeedbackLog, UsedKeys
from claas.api.models import Models
from claas.api.rollouts import RolloutStore
from claas.api.unsupported import UnknownFields
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
    edit_labels: bool
    truncate_prompt: bool
    """Whether a chat that exceeds the window is cut instead of refused."""
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
        feedback=Feedback(engine, config.mode, rollouts, used_keys, log),
        feedback_log=log,
        results_root=Path(config.results_dir),
        bench_root=Path(config.bench_dir),
        edit_labels=config.edit_labels,
        truncate_prompt=config.truncate_prompt is not None,
    )


async def services_of(request: Request) -> Services:
    """The services of the app that serves `request`."""
    services: Services = request.app.state.services
    return services


Served = Annotated[Services, Depends(services_of)]
"""A route's parameter that receives the services."""
