"""What the harness needs from the world: a stack that answers, scores, learns and pins versions."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from claas.core.errors import StackError
from claas.results.ledger import Receipt
from claas.results.records import AdapterVersion
from claas.wire.feedback import FeedbackItem, Sampling


class LostAnswer(StackError):
    """One request failed for good (retries included). It is counted and recorded, never replaced by a value."""


class WrongWeights(StackError):
    """A reply was made by other weights than the ones asked for: every number after it would be meaningless."""


class ServedBase(AdapterVersion):
    """The base model without an adapter, to be scored by its served `name`; its digest is known to the stack only."""

    lora_id: str = ""
    version: int = 0
    digest: str = ""
    name: str

    @property
    def model(self) -> str:
        """The base model's own name."""
        return self.name


@dataclass(frozen=True)
class Answer:
    """One sampled answer; `LostAnswer` where its numbers are none, or are not one for each token.

    T tokens; `logprobs` in nats under the sampling weights at temperature 1.

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

    def __post_init__(self) -> None:
        _require_numbers(self.logprobs, *self.top_logprobs, () if self.mean_entropy is None else (self.mean_entropy,))
        _require_as_many(self.tokens, self.logprobs)


@dataclass(frozen=True)
class CompletionScore:
    """Log probabilities of a given completion's C tokens, end-of-turn token included. Nats; `LostAnswer` without any.

    `tokens` are the tokens' texts, None when the stack cannot tell.
    """

    logprobs: tuple[float, ...]  # (C,)
    prompt_tokens: int
    tokens: tuple[str, ...] | None = None  # (C,)

    def __post_init__(self) -> None:
        _require_numbers(self.logprobs)
        _require_as_many(self.tokens, self.logprobs)
        if not self.logprobs:
            raise LostAnswer("the reply has no log probabilities")


def _require_numbers(*parts: Iterable[object]) -> None:
    """A reply with something else in place of a number is no reply, whichever stack it comes from."""
    for value in itertools.chain(*parts):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise LostAnswer(f"the reply has {value} in place of a number")


def _require_as_many(tokens: Sequence[str] | None, logprobs: Sequence[float]) -> None:
    """Numbers that cannot be matched to their tokens are no measurement of them."""
    if tokens is not None and len(tokens) != len(logprobs):
        raise LostAnswer(f"the reply has {len(logprobs)} log probabilities for {len(tokens)} tokens")


class Stack(Protocol):
    """A continual-learning stack.

    `LostAnswer`: this request failed for good. `WrongWeights`: a reply was not made by `adapter`. `StackError`:
    the stack is gone, or an update failed. `InvalidInput`: the stack refused what was asked.
    """

    async def init_adapter(self, lora_id: str, seed: int) -> AdapterVersion:
        """Version 0 of `lora_id`, which answers as the base model; made now from `seed`, or found still at 0."""
        ...

    async def newest(self, lora_id: str) -> AdapterVersion:
        """The newest version of `lora_id`."""
        ...

    async def answer(
        self,
        adapter: AdapterVersion,
        prompt: str,
        *,
        temperature: float,
        seed: int,
        max_tokens: int,
        top_logprobs: int = 0,
    ) -> Answer:
        """Sample one answer to `prompt` from exactly this version; where versions cannot be pinned, in its turn."""
        ...

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        """Score a completion under exactly this version."""
        ...

    async def give_feedback(self, adapter: AdapterVersion, items: Sequence[FeedbackItem], key: str) -> Receipt:
        """One update of `adapter` on a batch of feedback, exactly once per idempotency `key`."""
        ...


def require_weights(adapter: AdapterVersion, model: str, digest: str | None) -> None:
    """Raise `WrongWeights` unless they are. Names alone tell the base model, whose digest only the stack knows."""
    if model != adapter.model or (adapter.digest and digest != adapter.digest):
        asked = f"{adapter.model} ({adapter.digest or 'any digest'})"
        raise WrongWeights(
            f"asked {asked}, answered by {model} ({digest}): the stack serves other weights than it was asked for, so "
            "nothing it says can be trusted"
        )
