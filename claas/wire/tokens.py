"""Text as a model's tokens, as vLLM's servers tell them."""

from claas.wire import Body, RequestBody


class TokenizeRequest(RequestBody):
    """Plain text, which may spell out special tokens. `model` may be any that is served: they share a tokenizer."""

    prompt: str
    model: str | None = None


class TokenizeResponse(Body):
    """The ids of a text's tokens, and how many a prompt and its continuation may have together."""

    count: int
    max_model_len: int
    tokens: list[int]
