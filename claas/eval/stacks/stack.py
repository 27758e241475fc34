"""The stack interface: what the harness needs of a server that answers, scores, learns and pins versions."""

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
"""No context window and no training batch is larger."""


class LostAnswer(StackError):
    """One request failed for good, after its retries. It is counted and recorded, never replaced by a value."""


class NothingToPredict(InvalidInput):
    """A text is too short: it has no token that could be predicted from another."""


class WrongWeights(StackError):
    """A reply was made by other weights than the ones asked for, so that all further numbers would be meaningless."""


class ServedBase(AdapterVersion):
    """The base model without an adapter, addressed by its served `name`; only the stack knows its digest."""

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
    """One sampled answer of T tokens. Raises `LostAnswer` if numbers are missing, impossible or not one per token.

    `logprobs` are in nats under the sampling weights at temperature 1. `mean_entropy` is in nats per token over the
    full distribution, None if the stack cannot tell. `top_logprobs` (T, K) are the logprobs of the K likeliest tokens,
    if they were asked for. `tokens` are the tokens' texts, None if the stack cannot tell. `sampled_with` are the
    sampling parameters really used where a gateway may have changed them; None means as asked.
    `truncated_prompt_tokens` were cut from a prompt that did not fit the window.
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
    """Log probabilities, in nats, of a given completion's C tokens, the end-of-turn token included.

    `tokens` are the tokens' texts and `prompt_digest` identifies the prompt's tokens, both None if the stack cannot
    tell. Raises `LostAnswer` without log probabilities.
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
    """Log probabilities, in nats, of all T tokens of a text but the first, each given those before it in its window.

    `given` is the text of the first token, empty if that token stands for no text. `digest` identifies the weights, and
    `context_tokens` counts the tokens that only served as context. Raises `LostAnswer` for an impossible number.
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
    """A text and its tokens."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class PromptSize:
    """The number of tokens of a tokenised conversation, and the context window for them and the answer together."""

    tokens: int
    window: int


@dataclass(frozen=True)
class Continuation:
    """Log probabilities, in nats, of a text's C tokens after a prompt, and whether each is the likeliest in its place.

    Raises `LostAnswer` for an impossible number.
    """

    logprobs: tuple[float, ...]  # (C,)
    likeliest: tuple[bool, ...]  # (C,)

    def __post_init__(self) -> None:
        _require_logprobs(self.logprobs)
        if not len(self.logprobs) == len(self.likeliest) > 0:
            raise LostAnswer(f"the reply has {len(self.logprobs)} log probabilities of {len(self.likeliest)} tokens")


@dataclass(frozen=True)
class Completion:
    """A version's continuation of a prompt, up to a stop string, with the `logprobs`, in nats, of all its tokens.

    Raises `LostAnswer` unless there is one for each token.
    """

    text: str
    finish_reason: str
    tokens: tuple[str, ...]  # (C,)
    logprobs: tuple[float, ...]  # (C,)

    def __post_init__(self) -> None:
        _require_logprobs(self.logprobs)
        _require_as_many(self.tokens, self.logprobs)


_ABOVE_ZERO = 1e-3
"""Nats by which rounding may raise a log probability above 0."""

_LEAST_LOGPROB = -1e5
"""No model's logits lie further apart; some servers send smaller numbers in place of a missing one."""

_MOST_OF_ONE = 1.05
"""The largest sum of probabilities that were rounded to 8 bits."""

_MOST_ENTROPY = 32 * math.log(2)
"""The entropy of 2^32 equally likely tokens; no vocabulary is larger."""


def _least_entropy(logprobs: Sequence[float]) -> float:
    """A lower bound of the mean entropy: the share -p log p of the sampled tokens alone."""
    return math.fsum(-math.exp(logprob) * logprob for logprob in logprobs if logprob < 0) / max(len(logprobs), 1)


def _require_logprobs(logprobs: Sequence[float]) -> None:
    for logprob in logprobs:
        _require_between("a log probability of", logprob, _LEAST_LOGPROB, _ABOVE_ZERO)


def _require_between(what: str, value: object, low: float, high: float) -> None:
    """Raise `LostAnswer` for something that is no number, or an impossible one, whichever stack it is from."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LostAnswer(f"the reply has {_short(value)} in place of a number")
    if isinstance(value, float) and not math.isfinite(value):  # an int may be too large to be asked
        raise LostAnswer(f"the reply has {value} in place of a number")
    if not low <= value <= high:
        raise LostAnswer(f"the reply has {what} {_short(value)}, which cannot be")


def _short(value: object) -> str:
    return quoted(str(value), at_most=40).strip("'")


def _require_as_many(tokens: Sequence[str] | None, logprobs: Sequence[float]) -> None:
    """Raise `LostAnswer` if there is not one number for each token."""
    if tokens is not None and len(tokens) != len(logprobs):
        raise LostAnswer(f"the reply has {len(logprobs)} log probabilities for {len(tokens)} tokens")


class Stack(Protocol):
    """A continual-learning stack.

    Methods raise `LostAnswer` if this request failed for good, `WrongWeights` if a reply was not made by `adapter`,
    `StackError` if the stack is gone or an update failed, and `InvalidInput` if the stack refused the request.
    """

    async def base_source(self) -> str | None:
        """The exact source of the base model's weights; None if the stack cannot tell."""
        ...

    async def init_adapter(self, lora_id: str, seed: int) -> AdapterVersion:
        """Version 0 of `lora_id`, which answers as the base model: a new one made from `seed`, or an untrained one."""
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
        """Sample one answer to `prompt` from exactly this version, waiting for its turn if versions cannot be pinned.

        `earlier` are the preceding turns of the conversation. `prediction` and `urgent` may make the answer come
        sooner, but never change it.
        """
        ...

    async def prompt_size(self, messages: Sequence[Mapping[str, str]]) -> PromptSize:
        """The length of a conversation, which may exceed the window."""
        ...

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        """Score a completion under exactly this version."""
        ...

    async def read(self, adapter: AdapterVersion, text: str, window: int) -> Reading:
        """Score a text under exactly this version in windows of at most `window` tokens; each token is predicted once.

        Every window after the first begins with as much context as fits before the tokens that it predicts.
        Raises `NothingToPredict` if the text is too short, another `InvalidInput` if the model has no such window.
        """
        ...

    async def score_continuations(
        self, adapter: AdapterVersion, prompt: Sequence[int], continuations: Sequence[TokenizedText]
    ) -> Sequence[Continuation]:
        """Score each text as a continuation of a prompt of tokens, under exactly this version."""
        ...

    async def complete(
        self, adapter: AdapterVersion, prompt: Sequence[int], *, max_tokens: int, seed: int, stop: Sequence[str]
    ) -> Completion:
        """Continue a prompt of tokens greedily, under exactly this version."""
        ...

    async def give_feedback(self, adapter: AdapterVersion, items: Sequence[FeedbackItem], key: str) -> Receipt:
        """Make one update of `adapter` on a batch of feedback, exactly once per idempotency `key`."""
        ...


def require_weights(adapter: AdapterVersion, model: str, digest: str | None) -> None:
    """Raise `WrongWeights` unless the reply is from `adapter`. For the base model only names are compared."""
    if model != adapter.model or (adapter.digest and digest != adapter.digest):
        asked = f"{adapter.model} ({adapter.digest or 'any digest'})"
        raise WrongWeights(
            f"asked {asked}, answered by {model} ({digest}): the stack serves other weights than it was asked for, so "
            "nothing it says can be trusted"
        )
