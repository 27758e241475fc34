"""Text as a model's tokens and back, as vLLM's servers tell them."""

from pydantic import ConfigDict, Field, field_validator

from claas.core.errors import InvalidInput
from claas.wire import Body, Count, OpenAIBody, RequestBody

MOST_TEXT_BYTES = 2**20
"""Of a text to be tokenised, and so tokens at most: a second or two of work, for which texts wait in turn."""


class TokenizeRequest(RequestBody):
    """Plain text, which may spell out special tokens. `model` may be any that is served: they share a tokenizer.

    `add_special_tokens`: it gets what the tokenizer puts in front of any text.
    """

    prompt: str
    model: str | None = None
    add_special_tokens: bool = True

    @field_validator("prompt")
    @classmethod
    def _not_too_long(cls, prompt: str) -> str:
        if (size := len(prompt.encode(errors="surrogatepass"))) > MOST_TEXT_BYTES:
            raise InvalidInput(f"it must have at most {MOST_TEXT_BYTES} bytes, got {size}")
        return prompt


class TokenizeResponse(Body):
    """The ids of a text's tokens, and how many a prompt and its continuation may have together."""

    count: int
    max_model_len: int
    tokens: list[int]


class DetokenizeRequest(RequestBody):
    """The ids of tokens."""

    tokens: list[Count] = Field(fail_fast=True)
    model: str | None = None


class DetokenizeResponse(Body):
    """What tokens read as, special ones included."""

    prompt: str


class TokenizerInfo(OpenAIBody):
    """The tokenizer's configuration: besides its class, whatever that has, such as `eos_token` and `chat_template`."""

    model_config = ConfigDict(extra="allow")

    tokenizer_class: str
