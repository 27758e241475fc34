"""Completions and scores over HTTP: texts and tokens continued as they are, and log probabilities of given ones."""

from collections.abc import Iterable
from itertools import accumulate, islice
from typing import Annotated, Literal, TypeAlias, TypeGuard, cast

from pydantic import Field, field_validator

from claas.core.errors import InvalidInput
from claas.wire import Body, Count, Int64, OpenAIBody, OpenAIRequest, RequestBody
from claas.wire.chat import PlainValues, StreamOptions, Turns, Usage

_MOST_PROMPTS = 4096


class CompletionRequest(OpenAIRequest):
    """The prompts to continue, the weights, and how to sample.

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


MOST_CONTINUATIONS = 128
MOST_CONTINUATION_TOKENS = 2**14
"""Of several continuations together; one alone may have what the window leaves."""


def fitting(lengths: Iterable[int]) -> int:
    """How many of the first continuations with these lengths fit into one request; at least one."""
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
