"""What the harness needs from the world: a stack that answers, scores, learns and pins versions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from claas.core.errors import InvalidInput, StackError
from claas.core.text import quoted
from claas.results.ledger import Receipt
from claas.results.records import AdapterVersion
from claas.wire.feedback import FeedbackItem, Sampling

MOST_TOKENS = 2**24
"""No window, and no batch of answers to train on, is larger."""


class LostAnswer(StackError):
    """One request failed for good (retries included). It is counted and recorded, never replaced by a value."""


class NothingToPredict(InvalidInput):
    """A text has no token that could be predicted from another."""


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
    """One sampled answer; `LostAnswer` where its numbers are none, cannot be, or are not one for each token.

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
        _require_logprobs(self.logprobs)
        for likeliest in self.top_logprobs:
            _require_logprobs(likeliest)
            _require_between("probabilities that add up to", math.fsum(map(math.exp, likeliest)), 0.0, _MOST_OF_ONE)
        if self.mean_entropy is not None:
            _require_between("an entropy of", self.mean_entropy, _least_entropy(self.logprobs) / 2, _MOST_ENTROPY)
        _require_as_many(self.tokens, self.logprobs)
        _require_between("a prompt of so many tokens:", self.prompt_tokens, 0, MOST_TOKENS)
        if self.completion_tokens != len(self.logprobs):
            raise LostAnswer(
                f"the reply counts {_short(self.completion_tokens)} tokens and has {len(self.logprobs)} log "
                "probabilities"
            )


@dataclass(frozen=True)
class CompletionScore:
    """Log probabilities of a given completion's C tokens, end-of-turn token included. Nats; `LostAnswer` without any.

    `tokens` are the tokens' texts, `prompt_digest` says which tokens the prompt had; None when the stack cannot tell.
    """

    logprobs: tuple[float, ...]  # (C,)
    prompt_tokens: int
    tokens: tuple[str, ...] | None = None  # (C,)
    prompt_digest: str | None = None

    def __post_init__(self) -> None:
        _require_logprobs(self.logprobs)
        _require_as_many(self.tokens, self.logprobs)
        _require_between("a prompt of so many tokens:", self.prompt_tokens, 0, MOST_TOKENS)
        if not self.logprobs:
            raise LostAnswer("the reply has no log probabilities")


@dataclass(frozen=True)
class Reading:
    """Log probabilities of a text's tokens, each after those before it in its window: of all T but the first.

    Nats; `LostAnswer` where one cannot be. `given` is the text of the first token, empty where that stands for none.
    `digest` names the weights that read it, and `context_tokens` counts what was read only to predict the others.
    """

    given: str
    tokens: tuple[str, ...]  # (T - 1,)
    logprobs: tuple[float, ...]  # (T - 1,)
    context_tokens: int
    digest: str

    def __post_init__(self) -> None:
        _require_logprobs(self.logprobs)
        _require_as_many(self.tokens, self.logprobs)


@dataclass(frozen=True)
class TokenizedText:
    """A text, and the tokens that it is asked as."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class PromptSize:
    """The tokens that an answer to a conversation continues, and how many those and the answer may be together."""

    tokens: int
    window: int


@dataclass(frozen=True)
class Continuation:
    """Log probabilities of the C tokens of a text after a prompt, and whether each token is the likeliest in its place.

    Nats; `LostAnswer` where one cannot be.
    """

    logprobs: tuple[float, ...]  # (C,)
    likeliest: tuple[bool, ...]  # (C,)

    def __post_init__(self) -> None:
        _require_logprobs(self.logprobs)
        if not len(self.logprobs) == len(self.likeliest) > 0:
            raise LostAnswer(f"the reply has {len(self.logprobs)} log probabilities of {len(self.likeliest)} tokens")


@dataclass(frozen=True)
class Completion:
    """What a version wrote after a prompt, up to a stop string; `logprobs` in nats of every token that it made for it.

    `LostAnswer` where they are not one for each token.
    """

    text: str
    finish_reason: str
    tokens: tuple[str, ...]  # (C,)
    logprobs: tuple[float, ...]  # (C,)

    def __post_init__(self) -> None:
        _require_logprobs(self.logprobs)
        _require_as_many(self.tokens, self.logprobs)


_ABOVE_ZERO = 1e-3
"""Nats by which rounding may lift a log probability above 0."""

_LEAST_LOGPROB = -1e5
"""No two logits of a model lie further apart; servers write such numbers in place of one they do not have."""

_MOST_OF_ONE = 1.05
"""What probabilities rounded to 8 bits may add up to."""

_MOST_ENTROPY = 32 * math.log(2)
"""That of 2^32 tokens, all as likely: no vocabulary is larger."""


def _least_entropy(logprobs: Sequence[float]) -> float:
    """What the said tokens alone contribute to the mean entropy of what they were drawn from: -p log p each."""
    return math.fsum(-math.exp(logprob) * logprob for logprob in logprobs if logprob < 0) / max(len(logprobs), 1)


def _require_logprobs(logprobs: Sequence[float]) -> None:
    for logprob in logprobs:
        _require_between("a log probability of", logprob, _LEAST_LOGPROB, _ABOVE_ZERO)


def _require_between(what: str, value: object, low: float, high: float) -> None:
    """A reply with something else in place of a number, or one that cannot be, is none, whichever stack it is from."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LostAnswer(f"the reply has {_short(value)} in place of a number")
    if isinstance(value, float) and not math.isfinite(value):  # an int may be too large to be asked
        raise LostAnswer(f"the reply has {value} in place of a number")
    if not low <= value <= high:
        raise LostAnswer(f"the reply has {what} {_short(value)}, which cannot be")


def _short(value: object) -> str:
    return quoted(str(value), at_most=40).strip("'")


def _require_as_many(tokens: Sequence[str] | None, logprobs: Sequence[float]) -> None:
    """Numbers that cannot be matched to their tokens are no measurement of them."""
    if tokens is not None and len(tokens) != len(logprobs):
        raise LostAnswer(f"the reply has {len(logprobs)} log probabilities for {len(tokens)} tokens")


class Stack(Protocol):
    """A continual-learning stack.

    `LostAnswer`: this request failed for good. `WrongWeights`: a reply was not made by `adapter`. `StackError`:
    the stack is gone, or an update failed. `InvalidInput`: the stack refused what was asked.
    """

    async def base_source(self) -> str | None:
        """Where the base model's weights are from, exactly; None where the stack cannot tell."""
        ...

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
        earlier: Sequence[Mapping[str, str]] = (),
        prediction: str = "",
        urgent: bool = False,
    ) -> Answer:
        """Sample one answer to `prompt` from exactly this version; where versions cannot be pinned, in its turn.

        `earlier` are the turns of the conversation before it. What is predicted, and `urgent`, may make the answer come
        sooner, and never another one.
        """
        ...

    async def prompt_size(self, messages: Sequence[Mapping[str, str]]) -> PromptSize:
        """How long a conversation is, which may be longer than the window."""
        ...

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        """Score a completion under exactly this version."""
        ...

    async def read(self, adapter: AdapterVersion, text: str, window: int) -> Reading:
        """Read a text under exactly this version, at most `window` tokens at a time, so that each is predicted once.

        A window that is not the first begins before the tokens that it predicts, with as much context as fits.
        `NothingToPredict` where the text is too short, other `InvalidInput` where the model has no such window.
        """
        ...

    async def score_continuations(
        self, adapter: AdapterVersion, prompt: Sequence[int], continuations: Sequence[TokenizedText]
    ) -> Sequence[Continuation]:
        """Score each of these texts as what follows a prompt of tokens, under exactly this version."""
        ...

    async def complete(
        self, adapter: AdapterVersion, prompt: Sequence[int], *, max_tokens: int, seed: int, stop: Sequence[str]
    ) -> Completion:
        """Continue a prompt of tokens under exactly this version, with the likeliest token each time."""
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
