"""What engines are asked and what they answer: prompts, weights, samples, scores, updates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, overload

from pydantic import JsonValue

from claas.core.checks import versioned_name
from claas.core.errors import PromptTooLong
from claas.core.settings import TrainingConfig

Message: TypeAlias = Mapping[str, str]
"""One chat turn: `role` and `content`, both plain text."""


@dataclass(frozen=True)
class Conversation(Sequence[Message]):
    """The turns of a conversation, and variables for the chat template, such as `enable_thinking`."""

    turns: tuple[Message, ...]
    template_kwargs: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])

    @overload
    def __getitem__(self, index: int) -> Message: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...

    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        return self.turns[index]

    def __len__(self) -> int:
        return len(self.turns)


def template_variables(messages: Sequence[Message]) -> Mapping[str, JsonValue]:
    """The variables for the chat template; none for plain turns that are not a `Conversation`."""
    return messages.template_kwargs if isinstance(messages, Conversation) else {}


@dataclass(frozen=True)
class TokenIds:
    """A prompt as token ids, which bypass the chat template. `opens_thinking`: they end by opening a thinking block."""

    ids: tuple[int, ...]
    opens_thinking: bool = False


Prompt: TypeAlias = Sequence[Message] | TokenIds
"""What an answer continues: a conversation (a `Conversation` if it sets template variables), or token ids."""


@dataclass(frozen=True)
class Weights:
    """The identity of some weights: the base model (`lora_id` None, version 0) or one version of an adapter.

    `digest` identifies the content: the sha256 of the adapter's weights, or of the base model's name and weights.
    """

    lora_id: str | None
    version: int
    digest: str
    base_model: str

    @property
    def name(self) -> str:
        """The `model` of replies: `eval-concise@7`, or the base model's name."""
        return self.base_model if self.lora_id is None else versioned_name(self.lora_id, self.version)


@dataclass(frozen=True)
class SamplingParams:
    """How to sample one answer. `temperature` 0 is greedy; `seed` makes the answer reproducible.

    Reported logprobs are always those of the unmodified distribution (temperature 1, no top_p). `prediction` is a guess
    at the answer that may speed up decoding, and an `urgent` request may overtake others; neither changes any answer.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int = 0
    prediction: str = ""
    urgent: bool = False

    def of_choice(self, index: int) -> "SamplingParams":
        """The parameters of answer `index` out of several: each gets the next seed, wrapping around at 64 bits."""
        if self.seed is None:
            return self
        return replace(self, seed=(self.seed + index + 2**63) % 2**64 - 2**63)


@dataclass(frozen=True)
class TokenLogprob:
    """One token's text and its log probability in nats.

    `raw` is the token's bytes, which matter when it is only part of a character; None where the engine does not know.
    """

    token: str
    logprob: float
    raw: bytes | None = None


@dataclass(frozen=True)
class Piece:
    """The newest part of an answer being streamed: text that is final, and the tokens sampled since the last piece.

    `text` never ends inside a character, and never contains the beginning of what may become a stop string.
    """

    text: str
    tokens: tuple[TokenLogprob, ...]  # (t,)
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...]  # (t, top_logprobs), empty when not asked for


OnPiece: TypeAlias = Callable[[Piece], None]
"""Called with each piece of an answer as it is sampled, in the caller's event loop."""


@dataclass(frozen=True)
class Sample:
    """One sampled answer with everything that an exact update needs. T = number of sampled tokens.

    `token_ids` are as sampled, including the end-of-turn token if it was sampled. `text` is their decoded text, cut
    before a stop string and without special tokens, except those that separate thinking from the answer.
    `mean_entropy` is in nats per token over the full distribution, None where the engine cannot see it. Tokens of a
    prediction count as accepted where the answer contains them in order, else as rejected; both counts are 0 where the
    engine does not use predictions.
    """

    weights: Weights
    text: str
    finish_reason: Literal["stop", "length"]
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]  # (T,)
    tokens: tuple[str, ...]  # (T,)
    logprobs: tuple[float, ...]  # (T,)
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...]  # (T, top_logprobs), empty when not asked for
    mean_entropy: float | None
    token_bytes: tuple[bytes | None, ...] = ()  # (T,), empty where the engine does not know them
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0

    def rest(self, characters: int = 0, tokens: int = 0) -> Piece:
        """The answer after its first `characters` and `tokens`; all of it by default."""
        known = self.token_bytes or (None,) * len(self.tokens)
        scored = tuple(map(TokenLogprob, self.tokens, self.logprobs, known))
        return Piece(self.text[characters:], scored[tokens:], self.top_logprobs[tokens:])


@dataclass(frozen=True)
class Score:
    """Log probabilities, in nats, of a given completion's C tokens, the end-of-turn token included."""

    weights: Weights
    prompt_ids: tuple[int, ...]
    tokens: tuple[str, ...]  # (C,)
    logprobs: tuple[float, ...]  # (C,)


@dataclass(frozen=True)
class PromptLogprobs:
    """Log probabilities, in nats, of a prompt's T tokens, each given those before it; the first has none."""

    weights: Weights
    tokens: tuple[str, ...]  # (T,)
    token_bytes: tuple[bytes | None, ...]  # (T,)
    logprobs: tuple[float, ...]  # (T - 1,), of all but the first
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...]  # (T - 1, top_logprobs), empty when not asked for


@dataclass(frozen=True)
class ContinuationScore:
    """Log probabilities, in nats, of a continuation's C tokens, and whether each is the likeliest at its position."""

    logprobs: tuple[float, ...]  # (C,)
    likeliest: tuple[bool, ...]  # (C,)


@dataclass(frozen=True)
class TrainingItem:
    """One sampled answer and the feedback that a person gave on it.

    `token_ids` and `logprobs` are the sampler's own, never re-tokenised. `messages` is the conversation that the answer
    continued; for the teacher, the engine appends the feedback to its last user turn as a hindsight block.
    """

    messages: Sequence[Message]
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]  # (T,)
    logprobs: tuple[float, ...]  # (T,), under the weights that sampled them
    feedback: str


@dataclass(frozen=True)
class UpdateRequest:
    """One update to be made: of the newest version of `lora_id`, or of `from_version`, on `items`.

    `key` is its idempotency key: an engine trains at most once per key.
    """

    lora_id: str
    items: Sequence[TrainingItem]
    training: TrainingConfig
    key: str
    from_version: int | None = None


@dataclass(frozen=True)
class Update:
    """The receipt of one update: the version that it made, and the metrics that training reported."""

    weights: Weights
    metrics: Mapping[str, float]
    timing_ms: Mapping[str, float]
    replayed: bool = False
    """True when the idempotency key had been used before: nothing was trained, and this is the original receipt."""


@dataclass(frozen=True)
class AdapterSpec:
    """The shape of a new LoRA adapter, and the seed of its A matrices.

    `alpha` None means the engine's default: 64 where it can be chosen. `target_modules` None means every linear layer.
    """

    lora_id: str
    rank: int = 32
    alpha: int | None = None
    target_modules: tuple[str, ...] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Health:
    """Whether the engine can serve, and facts about it."""

    ok: bool
    base_model: str
    detail: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])


def require_window(prompt_tokens: int, answer_tokens: int, *, window: int, base_model: str) -> None:
    """Raise `PromptTooLong` if the prompt and the answer together exceed the window."""
    if prompt_tokens + answer_tokens > window:
        raise PromptTooLong(
            f"the prompt has {prompt_tokens} tokens, which with {answer_tokens} more is beyond the window of "
            f"{window} tokens of {base_model}; send a shorter one"
        )
