"""`POST /v1/feedback`: one update from what a person said about answers."""

from typing import Literal

from pydantic import Field

from claas.core.training_config import TrainingConfig
from claas.wire.base import Body

IDEMPOTENCY_HEADER = "Idempotency-Key"


class FeedbackItem(Body):
    """What a client knows: the prompt, the answer as shown, and the feedback on it.

    The API trains on the rollout it recorded, found by `rollout_id`, else by the visible text of `response`.
    """

    lora_id: str
    prompt: str
    response: str
    feedback: str = Field(min_length=1)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    rollout_id: str | None = None


class Orchestration(Body):
    """Whether to pause inference around the update; engines that serve while they learn have nothing to pause."""

    sleep_before: bool = False
    wake_after: bool = False
    wake_on_failure: bool = True
    sleep_level: int = Field(default=1, ge=1, le=2)


class FeedbackRequest(Body):
    """One batch for one adapter; all items share `lora_id` and `training`."""

    requests: list[FeedbackItem] = Field(min_length=1, max_length=64)
    orchestration: Orchestration = Field(default_factory=Orchestration)


class DistillResult(Body):
    """What the algorithm reported: a flat map of numbers, one meaning per key."""

    lora_id: str
    metadata: dict[str, float]


class PauseState(Body):
    """Whether inference was put to sleep and woken."""

    slept: bool
    woke: bool


class FeedbackTiming(Body):
    """Milliseconds of each part of the transaction."""

    sleep: float = 0.0
    distill: float
    save: float
    wake: float = 0.0
    logprobs: float
    total: float


class FeedbackResponse(Body):
    """The receipt. The same `Idempotency-Key` again returns it unchanged and trains nothing."""

    status: Literal["ok"] = "ok"
    request_id: str
    lora_id: str
    version: int
    digest: str
    distill_result: DistillResult
    vllm: PauseState
    feedback_log_path: str
    timing_ms: FeedbackTiming
    batch_size: int
