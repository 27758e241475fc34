"""Text as a model's tokens, as vLLM's servers tell them."""

from pydantic import Field

from claas.wire import Body, RequestBody

MOST_CHARACTERS = 2**20
"""Of a text to be tokenised: a second or two of work, for which texts wait in turn."""


class TokenizeRequest(RequestBody):
    """Plain text, which may spell out special tokens. `model` may be any that is served: they share a tokenizer."""

    prompt: str = Field(max_length=MOST_CHARACTERS)
    model: str | None = None


class TokenizeResponse(Body):
    """The ids of a text's tokens, and how many a prompt and its continuation may have together."""

    count: int
    max_model_len: int
    tokens: list[int]
