"""Text as a model's tokens and back, as vLLM's servers tell them."""

from pydantic import ConfigDict, Field

from claas.wire import Body, Count, OpenAIBody, RequestBody

MOST_CHARACTERS = 2**20
"""Of a text to be tokenised: a second or two of work, for which texts wait in turn."""


class TokenizeRequest(RequestBody):
    """Plain text, which may spell out special tokens. `model` may be any that is served: they share a tokenizer.

    `add_special_tokens`: it gets what the tokenizer puts in front of any text.
    """

    prompt: str = Field(max_length=MOST_CHARACTERS)
    model: str | None = None
    add_special_tokens: bool = True


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
