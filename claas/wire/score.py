"""`POST /v1/score`: the log probability of a given answer."""

from pydantic import Field

from claas.wire.base import Body
from claas.wire.chat import ChatMessage


class ScoreRequest(Body):
    """The conversation and the answer to score under `model`."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    completion: str = Field(min_length=1)


class ScoreResponse(Body):
    """Log probabilities (nats) of the completion's tokens, end-of-turn token included; `logprob_sum` is their sum."""

    model: str
    system_fingerprint: str
    tokens: list[str]
    logprobs: list[float]
    prompt_tokens: int
    completion_tokens: int
    logprob_sum: float
