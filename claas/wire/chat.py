"""Chat over HTTP: the bodies that OpenAI clients and the harness exchange with the API."""

from typing import Annotated, Literal, TypeAlias, cast

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from claas.core.errors import InvalidInput
from claas.wire import Count, Int64, OpenAIBody, OpenAIRequest


class TextPart(OpenAIBody):
    """One part of a message's content."""

    type: Literal["text"] = "text"
    text: str


def _parts(content: object) -> object:
    """Parts as they may be written, in the form that is checked."""
    if isinstance(content, dict):
        content = [cast(object, content)]
    return [_part(part) for part in cast(list[object], content)] if isinstance(content, list) else content


def _part(part: object) -> object:
    return {"text": part} if isinstance(part, str) else part


_Written: TypeAlias = str | TextPart | Annotated[list[str | TextPart], Field(max_length=4096)]
Content: TypeAlias = Annotated[
    str | Annotated[list[TextPart], Field(max_length=4096, fail_fast=True)],
    BeforeValidator(_parts, json_schema_input_type=_Written),
]
"""A text, or text parts, which read as one text.

A part may also be a text as it is, or an object without a type, and one part need not stand in a list.
"""


class ChatMessage(OpenAIBody):
    """One turn. The content of an assistant's may be null."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    tool_calls: list[JsonValue] | None = None
    function_call: JsonValue = None

    @property
    def text(self) -> str:
        """The content as one string."""
        return _joined(self.content)

    @model_validator(mode="after")
    def _can_be_said(self) -> "ChatMessage":
        if self.tool_calls or self.function_call:
            raise InvalidInput("tool calls are not supported: the model would not read them; say them in the content")
        if self.content is None and self.role != "assistant":
            raise InvalidInput(f"the content of a turn of role {self.role!r} must not be null")
        return self


class PredictedAnswer(OpenAIBody):
    """A predicted answer, such as the last one to this prompt; it may speed up the answer, but never changes it."""

    type: Literal["content"]
    content: Content

    @property
    def text(self) -> str:
        """The content as one string."""
        return _joined(self.content)


def _joined(content: Content | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


Turns: TypeAlias = Annotated[list[ChatMessage], Field(min_length=1, max_length=4096, fail_fast=True)]
"""A conversation; the first turn that is none is named."""


class StreamOptions(OpenAIBody, strict=True):
    """`include_usage`: a last chunk that counts the tokens."""

    include_usage: bool = False


_DEEPEST = 16


def _require_plain(value: object, depth: int = 0) -> None:
    if isinstance(value, dict | list):
        if depth == _DEEPEST:
            raise InvalidInput(f"it is nested more than {_DEEPEST} deep")
        inside = cast(dict[str, object], value).values() if isinstance(value, dict) else cast(list[object], value)
        for inner in inside:
            _require_plain(inner, depth + 1)
    elif isinstance(value, int | float) and not -(2**63) <= value < 2**63:
        raise InvalidInput("it holds a number beyond those of 64 bits")


def _plain(values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    _require_plain(values)
    return values


PlainValues: TypeAlias = Annotated[dict[str, JsonValue], AfterValidator(_plain)]
"""Values that a record can hold and every reader of JSON reads: not too deep, not too large, and none infinite."""


class ChatRequest(OpenAIRequest):
    """The conversation to answer, the weights, and how to sample.

    `priority` is vLLM's, the lower the earlier: one below 0 is answered before all that have none.
    """

    model: str
    messages: Turns
    max_tokens: Count | None = Field(default=None, ge=1)
    max_completion_tokens: Count | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    seed: Int64 | None = None
    n: int = Field(default=1, ge=1, le=64)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool = False
    stream_options: StreamOptions | None = None
    prediction: PredictedAnswer | None = None
    priority: Int64 | None = None
    chat_template_kwargs: PlainValues | None = None


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
    """The assistant's turn. `reasoning_content` is the model's thinking before it, None if there was none."""

    role: Literal["assistant"] = "assistant"
    content: str
    reasoning_content: str | None = None


class Choice(OpenAIBody):
    """One answer. `rollout_id` finds what was sampled; `mean_entropy` is nats per token over the full distribution,
    None where the engine cannot see it."""

    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: ChoiceLogprobs | None = None
    rollout_id: str | None = None
    mean_entropy: float | None = None


class CompletionTokensDetails(OpenAIBody):
    """Of the tokens of a prediction, how many the answer says in their order, and how many it does not.

    Both are 0 where nothing was predicted, and where the engine makes no use of a prediction.
    """

    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(OpenAIBody):
    """Tokens read and written. `completion_tokens` are those of the answers alone, without rejected predictions."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: CompletionTokensDetails = Field(default_factory=CompletionTokensDetails)


class ChatResponse(OpenAIBody):
    """The answers; `model` is `name@version` and `system_fingerprint` the digest of the weights that made them."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str | None = None


class Delta(OpenAIBody):
    """The newest part of the assistant's turn; the first part of a choice names the role, the last is empty."""

    role: Literal["assistant"] | None = None
    reasoning_content: str | None = None
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
