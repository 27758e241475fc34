"""What waits for the decoding thread, and what it gives back."""

import random
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from claas.engines.base import SamplingParams
from claas.engines.local.routing import ModelWeights


@dataclass(frozen=True)
class Decoded:
    """One sampled answer as ids. T tokens, the end-of-turn token included when it was sampled."""

    token_ids: list[int]  # (T,)
    logprobs: list[float]  # (T,)
    top_ids: list[list[int]]  # (T, top_logprobs)
    top_logprobs: list[list[float]]  # (T, top_logprobs)
    mean_entropy: float
    finish_reason: Literal["stop", "length"]


@dataclass(eq=False)
class DecodeRequest:
    """A prompt, the weights to continue it with, and the row's progress. Cancelling `result` frees its row.

    `on_token` is told, in the decoding thread, how many tokens there are, after each.
    """

    prompt_ids: list[int]
    weights: ModelWeights
    params: SamplingParams
    result: Future[Decoded] = field(default_factory=Future[Decoded])
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    top_ids: list[list[int]] = field(default_factory=list[list[int]])
    top_logprobs: list[list[float]] = field(default_factory=list[list[float]])
    entropy: float = 0.0
    on_token: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.params.seed)

    def uniform(self) -> float:
        """The next random number in [0, 1): a function of the seed and the number of tokens so far."""
        return self._random.random()

    @property
    def position(self) -> int:
        """Where the row's last token stands, which the next step feeds to the model."""
        return len(self.prompt_ids) + len(self.token_ids) - 1

    def decoded(self, finish_reason: Literal["stop", "length"]) -> Decoded:
        """The finished answer."""
        return Decoded(
            token_ids=self.token_ids,
            logprobs=self.logprobs,
            top_ids=self.top_ids,
            top_logprobs=self.top_logprobs,
            mean_entropy=self.entropy / len(self.token_ids),
            finish_reason=finish_reason,
        )
