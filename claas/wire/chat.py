"""Chat, completions and scores: the bodies that OpenAI clients and the harness exchange with the API."""

from collections.abc import Iterable
from itertools import accumulate, islice
from typing import Annotated, Literal, TypeAlias, TypeGuard, cast

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, field_validator, model_validator

from claas.core.errors import InvalidInput
from claas.wire import Body, Count, Int64, OpenAIBody, OpenAIRequest, RequestBody


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
    """What the answer may turn out to be, such as the last one to this prompt: it comes sooner, and is no other."""

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
    """What to answer, by which weights, and how to sample.

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
    """The assistant's turn. `reasoning_content` is what the model thought in front of it, None where it did not."""

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
    """What the assistant's turn grew by; a choice's first one names the role, its last one is empty."""

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


_MOST_PROMPTS = 4096


class CompletionRequest(OpenAIRequest):
    """What to continue, by which weights, and how to sample.

    `prompt` is a text, a list of texts, a list of token ids, or a list of such lists. With `echo` the answer begins
    with the prompt, and `max_tokens` may be 0; `logprobs` then covers the prompt too.
    """

    model: str
    prompt: (
        str
        | Annotated[list[str], Field(fail_fast=True)]
        | Annotated[list[int], Field(fail_fast=True)]
        | Annotated[list[list[int]], Field(fail_fast=True)]
    )
    max_tokens: Count = 16
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    n: int = Field(default=1, ge=1, le=64)
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    seed: Int64 | None = None
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=5)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _known_shape(cls, prompt: object) -> object:
        if isinstance(prompt, str):
            return prompt
        if isinstance(prompt, list) and prompt:
            items = cast(list[object], prompt)
            if len(items) > _MOST_PROMPTS and not isinstance(items[0], int):
                raise InvalidInput(f"prompt must hold at most {_MOST_PROMPTS} prompts, got {len(items)}")
            if all(isinstance(item, str) for item in items) or _are_ids(items):
                return items
            if all(_are_ids(item) for item in items):
                return items
        raise InvalidInput("prompt must be a text, texts, token ids, or lists of token ids, and not be empty")

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts one by one."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [cast(list[int], self.prompt)]
        return list(cast(list[str | list[int]], self.prompt))


class CompletionLogprobs(OpenAIBody):
    """Log probabilities (nats) of the tokens of a choice, side by side. T tokens.

    `token_logprobs` and `top_logprobs` are None for the first token of an echoed prompt. `top_logprobs` holds the
    likeliest tokens and the one that stands there. `text_offset` is where each token begins in the choice's text.
    A token that is a part of a character is written as its bytes: `bytes:\\xe2\\x80`.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(OpenAIBody):
    """One continuation. Choice `i * n + j` is number `j` of prompt `i`."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: CompletionLogprobs | None = None


class CompletionResponse(OpenAIBody):
    """The continuations; `model` is `name@version` and `system_fingerprint` the digest of the weights.

    Streamed, each is an event of its own, and `usage` comes last if it was asked for.
    """

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    system_fingerprint: str


def _are_ids(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list) or not value:
        return False
    return all(type(item) is int and 0 <= item < 2**63 for item in cast(list[object], value))


class ScoreRequest(RequestBody):
    """The conversation and the answer to score under `model`; `chat_template_kwargs` as in a chat."""

    model: str
    messages: Turns
    completion: str = Field(min_length=1)
    chat_template_kwargs: PlainValues | None = None


MOST_CONTINUATIONS = 128
MOST_CONTINUATION_TOKENS = 2**14
"""Of several continuations together; one alone may have what the window leaves."""


def fitting(lengths: Iterable[int]) -> int:
    """How many continuations of these lengths one request takes, the first ones; one at least."""
    totals = accumulate(islice(lengths, MOST_CONTINUATIONS))
    return max(1, sum(total <= MOST_CONTINUATION_TOKENS for total in totals))


_Ids: TypeAlias = Annotated[list[Count], Field(min_length=1, fail_fast=True)]


class ContinuationsRequest(RequestBody):
    """A prompt and what may follow it, all as token ids, to be scored under `model`."""

    model: str
    prompt: _Ids
    continuations: Annotated[list[_Ids], Field(min_length=1, max_length=MOST_CONTINUATIONS, fail_fast=True)]

    @field_validator("continuations")
    @classmethod
    def _not_too_many_tokens(cls, continuations: list[list[int]]) -> list[list[int]]:
        tokens = sum(map(len, continuations))
        if len(continuations) > 1 and tokens > MOST_CONTINUATION_TOKENS:
            raise InvalidInput(f"together they must have at most {MOST_CONTINUATION_TOKENS} tokens, got {tokens}")
        return continuations


class ScoredContinuation(Body):
    """Log probabilities (nats) of a continuation's tokens, and whether each is the likeliest one in its place."""

    logprobs: list[float]
    likeliest: list[bool]


class ContinuationsResponse(Body):
    """The continuations in the order of the request; `prompt_tokens` were read once for all of them."""

    model: str
    system_fingerprint: str
    prompt_tokens: int
    continuations: list[ScoredContinuation]


class ScoreResponse(Body):
    """Log probabilities (nats) of the completion's tokens, end-of-turn token included; `logprob_sum` is their sum.

    `prompt_digest` is the sha256 of the prompt's tokens, None from an API of an earlier version.
    """

    model: str
    system_fingerprint: str
    tokens: list[str]
    logprobs: list[float]
    prompt_tokens: int
    completion_tokens: int
    logprob_sum: float
    prompt_digest: str | None = None
