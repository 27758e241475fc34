"""Tokenising and detokenising over HTTP, compatible with vLLM's servers."""

from pydantic import ConfigDict, Field, model_validator

from claas.core.errors import InvalidInput
from claas.wire import Body, Count, OpenAIBody, RequestBody
from claas.wire.chat import PlainValues, Turns

MOST_TEXT_BYTES = 2**20
"""Of a text to be tokenised, and so tokens at most: a second or two of work, for which texts wait in turn."""


class TokenizeRequest(RequestBody):
    """Plain text, which may spell out special tokens, or `messages`: what an answer to a conversation continues.

    `model` may be any that is served: they share a tokenizer. `add_special_tokens`: a text gets what the tokenizer puts
    in front of any. `chat_template_kwargs` are told to the chat template.
    """

    prompt: str | None = None
    messages: Turns | None = None
    model: str | None = None
    add_special_tokens: bool = True
    chat_template_kwargs: PlainValues | None = None

    @model_validator(mode="after")
    def _one_text(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise InvalidInput("either prompt or messages must be given, and not both")
        texts = [self.prompt] if self.prompt is not None else [turn.text for turn in self.messages or ()]
        if (size := sum(len(text.encode(errors="surrogatepass")) for text in texts)) > MOST_TEXT_BYTES:
            name = "messages" if self.messages else "prompt"
            raise InvalidInput(f"{name} must have at most {MOST_TEXT_BYTES} bytes, got {size}")
        return self


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
    """The text of tokens, special ones included."""

    prompt: str


class TokenizerInfo(OpenAIBody):
    """The tokenizer's configuration: besides its class, whatever that has, such as `eos_token` and `chat_template`."""

    model_config = ConfigDict(extra="allow")

    tokenizer_class: str


_ANSWER_SHARE = 4
_FEEDBACK_SHARE = 8


def room_for_prompt(window: int, max_tokens: int) -> int:
    """How many tokens a prompt may have that leaves room for an answer of `max_tokens` and for feedback on it.

    The answer's room is at most a quarter of the window, the feedback's is an eighth.
    """
    return window - min(max_tokens, window // _ANSWER_SHARE) - window // _FEEDBACK_SHARE
