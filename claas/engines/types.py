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
    """Turns, and what the chat template is told besides them: variables of its own, such as `enable_thinking`."""

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


def told_to_template(messages: Sequence[Message]) -> Mapping[str, JsonValue]:
    """What the chat template is told besides the turns; nothing where they are no `Conversation`."""
    return messages.template_kwargs if isinstance(messages, Conversation) else {}


@dataclass(frozen=True)
class TokenIds:
    """A prompt as tokens, which no chat template touches. `opens_thinking`: its end begins a block of thinking."""

    ids: tuple[int, ...]
    opens_thinking: bool = False


Prompt: TypeAlias = Sequence[Message] | TokenIds
"""What an answer continues: a conversation (`Conversation` where its template is told something), or tokens."""


@dataclass(frozen=True)
class Weights:
    """Exactly which weights: the base model (`lora_id` None, version 0) or one version of an adapter.

    `digest` identifies the content: sha256 of the adapter's weights, or of the base model's name and weights.
    """

    lora_id: str | None
    version: int
    digest: str
    base_model: str

    @property
    def name(self) -> str:
        """What replies carry as `model`: `eval-concise@7`, or the base model's name."""
        return self.base_model if self.lora_id is None else versioned_name(self.lora_id, self.version)


@dataclass(frozen=True)
class SamplingParams:
    """How to sample one answer. `temperature` 0 is greedy; `seed` makes the answer reproducible.

    Logprobs are those of the model's own distribution (temperature 1, no top_p), whatever the temperature.
    `prediction` is what the answer may turn out to be, which may make it come sooner, and an `urgent` one may come
    before others; neither changes any answer.
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
        """Those of answer `index` of several: each has the next seed, that after the largest being the smallest."""
        if self.seed is None:
            return self
        return replace(self, seed=(self.seed + index + 2**63) % 2**64 - 2**63)


@dataclass(frozen=True)
class TokenLogprob:
    """One token's text, its log probability in nats, and its own bytes: those of a part of a character read as no text.

    `raw` is None where the engine does not know them.
    """

    token: str
    logprob: float
    raw: bytes | None = None


@dataclass(frozen=True)
class Piece:
    """What an answer grew by: text that will not be taken back, and the tokens sampled since the last piece.

    `text` never ends inside a character and holds nothing that may become a stop string.
    """

    text: str
    tokens: tuple[TokenLogprob, ...]  # (t,)
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...]  # (t, top_logprobs), empty when not asked for


OnPiece: TypeAlias = Callable[[Piece], None]
"""Called with each piece of an answer as it is sampled, in the caller's event loop."""


@dataclass(frozen=True)
class Sample:
    """One sampled answer with everything an exact update needs. T = number of sampled tokens.

    `token_ids` are as sampled, the end-of-turn token included when it was sampled; `text` is what they read as, cut
    before a stop string and without special tokens, but for those that tell thinking from the answer. `mean_entropy` is
    nats per token over the full distribution, None where the engine cannot see it. Of the tokens of a prediction, those
    that the answer says in their order are accepted, the others rejected; none are where the engine makes no use of it.
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
        """What is left of the answer after its first `characters` and `tokens`; all of it by default."""
        known = self.token_bytes or (None,) * len(self.tokens)
        scored = tuple(map(TokenLogprob, self.tokens, self.logprobs, known))
        return Piece(self.text[characters:], scored[tokens:], self.top_logprobs[tokens:])


@dataclass(frozen=True)
class Score:
    """Log probabilities of a given completion's C tokens, end-of-turn token included. Nats."""

    weights: Weights
    prompt_ids: tuple[int, ...]
    tokens: tuple[str, ...]  # (C,)
    logprobs: tuple[float, ...]  # (C,)


@dataclass(frozen=True)
class PromptLogprobs:
    """Log probabilities of a prompt's T tokens, each after those before it; the first has none. Nats."""

    weights: Weights
    tokens: tuple[str, ...]  # (T,)
    token_bytes: tuple[bytes | None, ...]  # (T,)
    logprobs: tuple[float, ...]  # (T - 1,), of all but the first
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...]  # (T - 1, top_logprobs), empty when not asked for


@dataclass(frozen=True)
class ContinuationScore:
    """Log probabilities of a continuation's C tokens, in nats, and whether each is the likeliest in its place."""

    logprobs: tuple[float, ...]  # (C,)
    likeliest: tuple[bool, ...]  # (C,)


@dataclass(frozen=True)
class TrainingItem:
    """One sampled answer and the feedback a person gave on it.

    `token_ids` and `logprobs` are the sampler's own, never re-tokenised. `messages` is the conversation the answer
    continued; the engine appends the feedback to its last user turn as a hindsight block for the teacher.
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
    """The receipt of one update: the version it made, and what the algorithm reported about it."""

    weights: Weights
    metrics: Mapping[str, float]
    timing_ms: Mapping[str, float]
    replayed: bool = False
    """True when the idempotency key had been used: nothing was trained, this is the first receipt."""


@dataclass(frozen=True)
class AdapterSpec:
    """The shape of a new adapter, and the seed of its A. `target_modules` None means every linear layer.

    `alpha` None means the engine's own: 64 where it can be chosen.
    """

    lora_id: str
    rank: int = 32
    alpha: int | None = None
    target_modules: tuple[str, ...] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Health:
    """What the engine is and whether it can serve."""

    ok: bool
    base_model: str
    detail: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])


def require_window(prompt_tokens: int, answer_tokens: int, *, window: int, base_model: str) -> None:
    """Raise `PromptTooLong` where a prompt with so many tokens after it is beyond the window."""
    if prompt_tokens + answer_tokens > window:
        raise PromptTooLong(
            f"the prompt has {prompt_tokens} tokens, which with {answer_tokens} more is beyond the window of "
            f"{window} tokens of {base_model}; send a shorter one"
        )
