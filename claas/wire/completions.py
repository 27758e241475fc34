"""`POST /v1/completions`, as OpenAI has it: text continued as it is, without a chat template."""

from typing import Literal, TypeGuard, cast

from pydantic import Field, field_validator, model_validator

from claas.core.errors import InvalidInput
from claas.wire.base import OpenAIBody, without_nulls
from claas.wire.chat import Usage


class CompletionRequest(OpenAIBody):
    """What to continue, by which weights, and how to sample.

    `prompt` is a text, a list of texts, a list of token ids, or a list of such lists. With `echo` the answer begins
    with the prompt, and `max_tokens` may be 0; `logprobs` then covers the prompt too.
    """

    model: str
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int = Field(default=16, ge=0)
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    n: int = Field(default=1, ge=1, le=64)
    stop: str | list[str] | None = None
    seed: int | None = None
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=5)
    stream: bool = False

    @model_validator(mode="before")
    @classmethod
    def _null_means_not_given(cls, body: object) -> object:
        return without_nulls(body)

    @field_validator("prompt", mode="before")
    @classmethod
    def _known_shape(cls, prompt: object) -> object:
        if isinstance(prompt, str):
            return prompt
        if isinstance(prompt, list) and prompt:
            items = cast(list[object], prompt)
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
    """The continuations; `model` is `name@version` and `system_fingerprint` the digest of the weights."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str


def _are_ids(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, int) and not isinstance(item, bool) for item in cast(list[object], value))
