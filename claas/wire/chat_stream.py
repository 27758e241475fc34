"""The chunks that `POST /v1/chat/completions` sends with `stream: true`, as OpenAI has them, with our additions."""

from typing import Literal

from claas.wire.base import OpenAIBody
from claas.wire.chat import ChoiceLogprobs, Usage


class Delta(OpenAIBody):
    """What the assistant's turn grew by; a choice's first one names the role, its last one is empty."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(OpenAIBody):
    """A part of one answer. `finish_reason`, `rollout_id` and `mean_entropy` come with its last part."""

    index: int
    delta: Delta
    finish_reason: Literal["stop", "length"] | None
    logprobs: ChoiceLogprobs | None
    rollout_id: str | None = None
    mean_entropy: float | None = None


class ChatChunk(OpenAIBody):
    """One event; without choices the last one, which holds the usage if that was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
