"""What the harness needs from the world: a stack that answers, scores, learns and pins versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from claas.core.errors import StackError
from claas.core.settings import TrainingConfig
from claas.wire.feedback import Sampling


class LostAnswer(StackError):
    """One request failed for good (retries included). It is counted and recorded, never replaced by a value."""


class WrongWeights(StackError):
    """A reply was made by other weights than the ones asked for: every number after it would be meaningless."""


@dataclass(frozen=True)
class Adapter:
    """One pinned version of one adapter; `model` is the name that pins it (`eval-concise@7`).

    An empty `digest` is one that only the stack knows: that of `base_model`.
    """

    lora_id: str
    version: int
    digest: str
    model: str


def base_model(name: str) -> Adapter:
    """The base model without an adapter, to be scored by its served name."""
    return Adapter(lora_id="", version=0, digest="", model=name)


@dataclass(frozen=True)
class Answer:
    """One sampled answer. T tokens; `logprobs` in nats under the sampling weights at temperature 1.

    `mean_entropy`: nats per token over the full distribution, None when the stack cannot tell; `top_logprobs` (T, K)
    holds the K likeliest tokens' logprobs when they were asked for. `tokens` are the tokens' texts, None when the stack
    cannot tell. `sampled_with` says how it was sampled where what stands between may have changed that, and None means
    as asked; `truncated_prompt_tokens` were then cut from its prompt, which did not fit the window.
    """

    text: str
    finish_reason: str
    rollout_id: str
    logprobs: tuple[float, ...]  # (T,)
    mean_entropy: float | None
    top_logprobs: tuple[tuple[float, ...], ...]  # (T, K)
    prompt_tokens: int
    completion_tokens: int
    sampled_with: Sampling | None = None
    truncated_prompt_tokens: int = 0
    tokens: tuple[str, ...] | None = None  # (T,)


@dataclass(frozen=True)
class Scored:
    """Log probabilities of a given completion's C tokens, end-of-turn token included. Nats.

    `tokens` are the tokens' texts, None when the stack cannot tell.
    """

    logprobs: tuple[float, ...]  # (C,)
    prompt_tokens: int
    tokens: tuple[str, ...] | None = None  # (C,)


@dataclass(frozen=True)
class Receipt:
    """The version an update made, and what the algorithm reported."""

    adapter: Adapter
    metrics: Mapping[str, float]
    timing_ms: Mapping[str, float]


@dataclass(frozen=True)
class FeedbackOn:
    """Feedback on one answer: the prompt, the response as shown, and which rollout it was."""

    prompt: str
    response: str
    rollout_id: str
    feedback: str


class Stack(Protocol):
    """A continual-learning stack.

    `LostAnswer`: this request failed for good. `WrongWeights`: a reply was not made by `adapter`. `StackError`:
    the stack is gone, or an update failed. `InvalidInput`: the stack refused what was asked.
    """

    async def init_adapter(self, lora_id: str, seed: int) -> Adapter:
        """Version 0 of `lora_id`, which answers as the base model; made now from `seed`, or found still at 0."""
        ...

    async def newest(self, lora_id: str) -> Adapter:
        """The newest version of `lora_id`."""
        ...

    async def answer(
        self, adapter: Adapter, prompt: str, *, temperature: float, seed: int, max_tokens: int, top_logprobs: int = 0
    ) -> Answer:
        """Sample one answer to `prompt` from exactly this version; where versions cannot be pinned, in its turn."""
        ...

    async def score(self, adapter: Adapter, messages: Sequence[Mapping[str, str]], completion: str) -> Scored:
        """Score a completion under exactly this version."""
        ...

    async def give_feedback(
        self, adapter: Adapter, items: Sequence[FeedbackOn], training: TrainingConfig, key: str
    ) -> Receipt:
        """One update of `adapter`, exactly once per idempotency `key`."""
        ...


def require_weights(adapter: Adapter, model: str, digest: str | None) -> None:
    """Raise `WrongWeights` unless they are. Names alone tell the base model, whose digest only the stack knows."""
    if model != adapter.model or (adapter.digest and digest != adapter.digest):
        asked = f"{adapter.model} ({adapter.digest or 'any digest'})"
        raise WrongWeights(
            f"asked {asked}, answered by {model} ({digest}): the stack serves other weights than it was asked for, so "
            "nothing it says can be trusted"
        )
