"""`POST /v1/chat/completions`, as OpenAI has it, with the rollout's id and entropy added to each choice."""

from typing import Literal

from pydantic import Field, model_validator

from claas.core.errors import InvalidInput
from claas.wire.base import OpenAIBody, without_nulls

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."
"""The system turn of a request that has none."""


class TextPart(OpenAIBody):
    """One part of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(OpenAIBody):
    """One turn; `content` is text or a list of text parts, which read as one text. An assistant's may be null."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())

    @model_validator(mode="after")
    def _only_assistants_are_silent(self) -> "ChatMessage":
        if self.content is None and self.role != "assistant":
            raise InvalidInput(f"the content of a turn of role {self.role!r} must not be null")
        return self


class StreamOptions(OpenAIBody):
    """`include_usage`: a last chunk that counts the tokens."""

    include_usage: bool = False


class ChatRequest(OpenAIBody):
    """What to answer, by which weights, and how to sample."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int = Field(default=1, ge=1, le=64)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_means_not_given(cls, body: object) -> object:
        return without_nulls(body)


class TopLogprob(OpenAIBody):
    """An alternative token and its log probability in nats."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprobs(OpenAIBody):
    """A sampled token, its log probability in nats, and the likeliest alternatives."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] = Field(default_factory=list[TopLogprob])


class ChoiceLogprobs(OpenAIBody):
    """Log probabilities of an answer's tokens, the end-of-turn token included."""

    content: list[TokenLogprobs]


class AnswerMessage(OpenAIBody):
    """The assistant's turn."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(OpenAIBody):
    """One answer. `rollout_id` finds what was sampled; `mean_entropy` is nats per token over the full distribution,
    None where the engine cannot see it."""

    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: ChoiceLogprobs | None = None
    rollout_id: str | None = None
    mean_entropy: float | None = None


class Usage(OpenAIBody):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatResponse(OpenAIBody):
    """The answers; `model` is `name@version` and `system_fingerprint` the digest of the weights that made them."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str | None = None
