"""Feedback over HTTP, its log, and the rollouts that it is about."""

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, field_validator

from claas.core.errors import InvalidInput
from claas.core.settings import TrainingConfig
from claas.core.text import is_blank, quoted
from claas.core.thinking import told_apart
from claas.wire import Body, Count, Int64, RequestBody
from claas.wire.chat import ChatMessage, Turns

IDEMPOTENCY_HEADER = "Idempotency-Key"


def _says_something(text: str) -> str:
    if is_blank(text):
        raise InvalidInput(f"must say something, got {text[:40]!r}")
    return text


SaidText = Annotated[str, AfterValidator(_says_something)]
"""Text that is not blank; a blank one would match every other."""


def _one_step_unless_said(training: object) -> object:
    """Training settings as a client sent them, with one optimiser step where they do not say how many."""
    return {"steps_per_batch": 1, **cast(dict[str, Any], training)} if isinstance(training, dict) else training


ItemTraining = Annotated[TrainingConfig, BeforeValidator(_one_step_unless_said)]


class FeedbackItem(RequestBody):
    """One piece of feedback as a client knows it: the prompt, the answer as shown, and the feedback on it.

    The API trains on the rollout it recorded, found by `rollout_id`, else by the visible text of `response`; either way
    `prompt` must be what that answered. It is trained as the answer to the conversation that it was given in, or to
    `conversation`, where that is named.
    """

    lora_id: str
    prompt: SaidText
    response: str
    feedback: SaidText
    training: ItemTraining = Field(
        default_factory=lambda: TrainingConfig(steps_per_batch=1),
        description="without `steps_per_batch`, one optimiser step is made",
    )
    rollout_id: str | None = None
    conversation: Turns | None = None


class Orchestration(RequestBody):
    """When inference sleeps around the update: with mode=vllm, whose memory may be needed to learn.

    With `sleep_before` it answers what was asked before, then nothing until the update is made (`wake_after`) or has
    failed (`wake_on_failure`); without these, until somebody asks. Every other engine answers while it learns, and is
    not put to sleep: the response's `vllm` and `timing_ms` say what came of it.
    """

    sleep_before: bool = False
    wake_after: bool = False
    wake_on_failure: bool = True
    sleep_level: int = Field(default=1, ge=1, le=2)


class FeedbackRequest(RequestBody):
    """One batch for one adapter; all items share `lora_id` and `training`.

    `from_version` is what learns: the newest version where it is left out. With an earlier one, what was learnt after
    it is not in the version that is made.
    """

    requests: list[FeedbackItem] = Field(min_length=1, max_length=64)
    orchestration: Orchestration = Field(default_factory=Orchestration)
    from_version: Count | None = None


class DistillResult(Body):
    """The metrics that training reported: a flat map of numbers, with one meaning per key."""

    lora_id: str
    metadata: dict[str, float]


class PauseState(Body):
    """Whether inference was put to sleep for the update, and woken after it (`Orchestration`)."""

    slept: bool
    woke: bool


class FeedbackTiming(Body):
    """Milliseconds of each part of the transaction, None of one that there was not: `sleep` and `wake` where inference
    was not to sleep, others where the engine does not have them, or does not tell them apart."""

    sleep: float | None = None
    distill: float | None = None
    save: float | None = None
    wake: float | None = None
    logprobs: float | None = None
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


class LoggedItem(Body):
    """One answer, the feedback on it, and the weights that had given it; `conversation` as in `FeedbackItem`."""

    prompt: str
    response: str
    feedback: str
    rollout_id: str
    model: str
    conversation: list[ChatMessage] | None = None


class FeedbackLogEntry(Body):
    """One batch. `version`, `digest` and `timing_ms` are None when no update was made; `errors` says why.

    `metrics` holds what the algorithm reported as numbers; one that was not a number is named in `errors` instead.
    `from_version` is what was to learn, None the newest. `replayed`: the update had been made before under this key,
    and this batch trained nothing.
    """

    schema_version: int = 1
    request_id: str
    idempotency_key: str
    time: datetime
    lora_id: str
    training: TrainingConfig
    items: list[LoggedItem]
    from_version: int | None = None
    version: int | None = None
    digest: str | None = None
    replayed: bool = False
    metrics: dict[str, float] = Field(default_factory=dict[str, float])
    timing_ms: FeedbackTiming | None = None
    errors: list[str] = Field(default_factory=list[str])


class ResolveRequest(RequestBody):
    """A text as a person saw it, and which of several answers that read alike is meant; the latest of those left.

    Thinking and white space do not matter. `prompt`: it was given to this, or to a last user turn in which a gateway
    put lines before it or notes in brackets around it. `model`: these weights gave it (`eval-concise@7`).
    """

    text: str
    prompt: SaidText | None = None
    model: str | None = None


class Sampling(Body):
    """How an answer was sampled. `temperature` 0 is greedy. A `seed` of None is one that the engine drew itself."""

    temperature: float
    top_p: float
    seed: Int64 | None
    max_tokens: Count


class Rollout(Body):
    """One sampled answer as this API recorded it. T = number of sampled tokens.

    `token_ids` and `logprobs` (nats) are the sampler's own; `model` is `name@version`, `digest` that of the weights.
    `messages` are what the model read: where the prompt did not fit, `truncated_prompt_tokens` had been cut from them.
    `text` is all that was said, thinking included, and begins inside it where the prompt `opens_thinking`.
    `chat_template_kwargs` are what the chat template was told. `sampling` is None in records of earlier versions.
    """

    id: str
    created: float
    model: str
    lora_id: str | None
    version: Count
    digest: str
    messages: list[dict[str, str]]
    text: str
    finish_reason: str
    prompt_ids: list[Count]
    token_ids: list[Count]
    logprobs: list[float]
    mean_entropy: float | None
    truncated_prompt_tokens: Count = 0
    sampling: Sampling | None = None
    opens_thinking: bool = False
    chat_template_kwargs: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])

    @field_validator("messages")
    @classmethod
    def _turns(cls, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        for turn in messages:
            if not {"role", "content"} <= turn.keys():
                raise InvalidInput(f"a turn must have a role and a content, got {quoted(repr(turn))}")
        return messages

    @property
    def content(self) -> str:
        """The visible text: without the thinking before it."""
        return told_apart(self.text, opened=self.opens_thinking).answer
