"""A file of the feedback log: one batch that reached the engine, whether it trained or failed."""

from datetime import datetime

from pydantic import Field

from claas.core.training_config import TrainingConfig
from claas.wire.base import Body
from claas.wire.feedback import FeedbackTiming


class LoggedItem(Body):
    """One answer, the feedback on it, and the weights that had given it."""

    prompt: str
    response: str
    feedback: str
    rollout_id: str
    model: str


class FeedbackLogEntry(Body):
    """One batch. `version`, `digest` and `timing_ms` are None when no update was made; `errors` says why.

    `metrics` holds what the algorithm reported as numbers; one that was not a number is named in `errors` instead.
    `replayed`: the update had been made before under this key, and this batch trained nothing.
    """

    schema_version: int = 1
    request_id: str
    idempotency_key: str
    time: datetime
    lora_id: str
    training: TrainingConfig
    items: list[LoggedItem]
    version: int | None = None
    digest: str | None = None
    replayed: bool = False
    metrics: dict[str, float] = Field(default_factory=dict[str, float])
    timing_ms: FeedbackTiming | None = None
    errors: list[str] = Field(default_factory=list[str])
