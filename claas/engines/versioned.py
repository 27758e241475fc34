"""What all engines with a version store share: everything that does not depend on where the model runs."""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from pydantic import JsonValue

from claas.core.checks import in_range
from claas.core.concurrency import unblocked
from claas.core.errors import InvalidInput, PromptTooLong
from claas.core.hindsight import with_hindsight
from claas.core.settings import SFT, TrainingConfig
from claas.engines.store import AdapterLocks, StoredVersion, VersionStore
from claas.engines.text import ChatFormat, cut, size_of
from claas.engines.types import (
    AdapterSpec,
    Conversation,
    Message,
    Prompt,
    PromptLogprobs,
    Sample,
    SamplingParams,
    TokenIds,
    TrainingItem,
    Update,
    UpdateRequest,
    Weights,
    require_window,
    template_variables,
)
from claas.training.example import TrainingExample

V = TypeVar("V", bound=StoredVersion)
T = TypeVar("T")

MOST_TOP_LOGPROBS = 20
"""The most alternatives to a token that a request may ask for."""


@dataclass(frozen=True)
class ScoredIds:
    """Log probabilities (nats) of T given tokens, and of the likeliest alternatives to each."""

    logprobs: list[float]  # (T,)
    top_ids: list[list[int]]  # (T, top_logprobs), likeliest first; empty when not asked for
    top_logprobs: list[list[float]]  # (T, top_logprobs), as `top_ids`


@dataclass(frozen=True)
class SampledIds:
    """One sampled answer as ids: T tokens, the end-of-turn token included when it was sampled.

    `mean_entropy` is nats per token, None where it cannot be seen.
    """

    token_ids: list[int]  # (T,)
    scores: ScoredIds
    mean_entropy: float | None
    finish_reason: Literal["stop", "length"]
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Learner(ABC, Generic[V]):
    """Makes the versions of adapters, each atomically and exactly once. `base` is the model under all of them."""

    def __init__(self, base: Weights, chat: ChatFormat, window: int, store: VersionStore[V]) -> None:
        self.base = base
        self.chat = chat
        self.window = window
        self.store = store

    @property
    def longest_prompt(self) -> int:
        """The number of characters beyond which no text fits the window, however it is tokenised."""
        return self.window * self.chat.longest_token

    @abstractmethod
    async def init(self, spec: AdapterSpec) -> Weights:
        """Make version 0. Raises `Conflict` where the id is taken, `InvalidInput` for an unsupported shape."""

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        """Make version 0 with given weights. Raises `InvalidInput` where the engine cannot import any."""
        raise InvalidInput("adapters of others are imported with mode=local and mode=modal only")

    async def update(self, request: UpdateRequest) -> Update:
        """Train the next version, unless the key made one already. A failure leaves the newest version as it was."""
        made = self.store.made_by(request.lora_id, request.key)
        if made is not None:
            return made.receipt(replayed=True)
        parent = self.store.get(request.lora_id, request.from_version)
        parent.require_base(self.base)
        number = self.store.versions(request.lora_id)[-1].version + 1
        return (await self._next(parent, number, request)).receipt()

    @abstractmethod
    async def delete(self, lora_id: str) -> bool:
        """Remove an adapter and all its versions; False when there was none."""

    @abstractmethod
    async def _next(self, parent: V, number: int, request: UpdateRequest) -> V:
        """Make version `number` from `parent`."""

    def _example(self, item: TrainingItem, training: TrainingConfig) -> TrainingExample:
        """`item` with its teacher's prompt, which for the objective `sft`, without a teacher, is the student's.

        Raises `PromptTooLong` where it exceeds the window, `InvalidInput` where the chat template drops the feedback.
        """
        if training.objective == SFT:
            return self._fitting(TrainingExample(item.prompt_ids, item.prompt_ids, item.token_ids, item.logprobs))
        if len(item.feedback) * training.feedback_repetitions > self.longest_prompt:
            raise self._too_long(f"the feedback alone comes to {len(item.feedback)} characters")
        turns = with_hindsight(item.messages, item.feedback, training.feedback_repetitions)
        teacher_ids = tuple(self.chat.prompt_ids(Conversation(tuple(turns), template_variables(item.messages))))
        if teacher_ids == item.prompt_ids:
            raise InvalidInput(
                "the model's chat template leaves out the user's last turn, to which feedback is appended; nothing was "
                "trained"
            )
        return self._fitting(TrainingExample(item.prompt_ids, teacher_ids, item.token_ids, item.logprobs))

    def _fitting(self, example: TrainingExample) -> TrainingExample:
        if example.longest > self.window:
            raise self._too_long(f"prompt, feedback and response come to {example.longest} tokens")
        return example

    def _too_long(self, what: str) -> PromptTooLong:
        return PromptTooLong(
            f"{what}, beyond the window of {self.window} tokens of {self.base.base_model}; nothing was trained"
        )


class VersionedEngine(Generic[V]):
    """The part of `claas.engines.base.Engine` that handles text, the names of weights, and making versions."""

    def __init__(self, learner: Learner[V], lock_timeout_s: float) -> None:
        self._learner = learner
        self._base = learner.base
        self._chat = learner.chat
        self._store = learner.store
        self._locks = AdapterLocks(lock_timeout_s)

    @property
    def base_model(self) -> str:
        """The served name of the base model."""
        return self._base.base_model

    @property
    def base_source(self) -> str | None:
        """The exact source of the base model's weights; None where the engine cannot tell."""
        return None

    @property
    def window(self) -> int:
        """The context window: the most tokens of prompt and answer together."""
        return self._learner.window

    @property
    def longest_prompt(self) -> int:
        """The number of characters beyond which no text fits the window, however it is tokenised."""
        return self._learner.longest_prompt

    async def encode(self, prompt: Sequence[Message] | str, add_special_tokens: bool = True) -> TokenIds:
        """Tokenise a conversation with the chat template, or plain text as it is."""
        return await unblocked(size_of(prompt), self._chat.encode, prompt, add_special_tokens)

    async def decode(self, prompt: TokenIds) -> str:
        """The text of tokens, special ones included."""
        return await unblocked(size_of(prompt), self._chat.decode, prompt)

    async def tokenizer_info(self) -> dict[str, JsonValue]:
        """The tokenizer's configuration."""
        return self._chat.tokenizer_info()

    async def resolve(self, lora_id: str | None, version: int | None = None) -> Weights:
        """The weights of one version of an adapter (None: its newest), or of the base model when `lora_id` is None."""
        return self._base if lora_id is None else self._store.get(lora_id, version).weights

    async def update(self, request: UpdateRequest) -> Update:
        """Train the next version of an adapter, exactly once per `request.key`."""
        return await self._exclusively(request.lora_id, lambda: self._learner.update(request))

    async def init_adapter(self, spec: AdapterSpec) -> Weights:
        """Create version 0, which answers exactly as the base model, unless it exists already."""
        return await self._exclusively(spec.lora_id, lambda: self._learner.init(spec))

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        """Create version 0 from the weights of an adapter in PEFT's format, unless it exists already."""
        return await self._exclusively(lora_id, lambda: self._learner.import_adapter(lora_id, config, weights))

    async def list_adapters(self, prefix: str = "") -> list[Weights]:
        """The newest version of every adapter whose id starts with `prefix`, sorted by id."""
        return [self._store.get(known).weights for known in self._store.adapters() if known.startswith(prefix)]

    async def delete_adapter(self, lora_id: str) -> bool:
        """Remove an adapter and all its versions; False when there was none."""
        return await self._exclusively(lora_id, lambda: self._learner.delete(lora_id))

    async def _exclusively(self, lora_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` while holding the adapter's lock, to its end even if the caller is cancelled."""
        async with self._locks.holding(lora_id):
            task = asyncio.ensure_future(work())
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait([task])
                raise

    def _completed(self, params: SamplingParams, prompt_tokens: int) -> SamplingParams:
        """The parameters, checked and seeded, and asking for no more tokens than fit the window."""
        in_range("max_tokens", params.max_tokens, 1)
        in_range("temperature", params.temperature, 0.0)
        in_range("top_p", params.top_p, 0.0, 1.0, above=True)
        in_range("top_logprobs", params.top_logprobs, 0, MOST_TOP_LOGPROBS)
        self._require_window(prompt_tokens, 1)
        room = self.window - prompt_tokens
        seed = int.from_bytes(os.urandom(8)) if params.seed is None else params.seed % 2**64  # -1 is not 1
        stops = tuple(stop for stop in params.stop if stop)
        return replace(params, max_tokens=min(params.max_tokens, room), seed=seed, stop=stops)

    def _require_window(self, prompt_tokens: int, answer_tokens: int) -> None:
        require_window(prompt_tokens, answer_tokens, window=self.window, base_model=self.base_model)

    async def _ids(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt; they may exceed the window."""
        return await unblocked(size_of(prompt), self._chat.ids_of, prompt)

    async def _ids_and_continuations(
        self, prompt: TokenIds, continuations: Sequence[Sequence[int]]
    ) -> tuple[list[int], list[list[int]]]:
        """The tokens of a prompt and of its continuations, each of which must fit the window."""
        if not continuations:
            raise InvalidInput("there are no continuations to score")
        for index, each in enumerate(continuations):
            if not each:
                raise InvalidInput(f"continuation {index} has no tokens, so there is nothing to score")
            self._chat.require_known(each)
        ids = await self._ids(prompt)
        self._require_window(len(ids), max(map(len, continuations)))
        return ids, list(map(list, continuations))

    async def _sample(
        self, weights: Weights, prompt_ids: Sequence[int], sampled: SampledIds, stops: Sequence[str]
    ) -> Sample:
        """The answer as callers see it, with its text cut before the first stop string."""
        return await unblocked(_size(sampled.scores), self._as_sample, weights, prompt_ids, sampled, stops)

    def _as_sample(
        self, weights: Weights, prompt_ids: Sequence[int], sampled: SampledIds, stops: Sequence[str]
    ) -> Sample:
        ids, scores = sampled.token_ids, sampled.scores
        return Sample(
            weights=weights,
            text=cut(self._chat.text(ids), stops),
            finish_reason=sampled.finish_reason,
            prompt_ids=tuple(prompt_ids),
            token_ids=tuple(ids),
            tokens=self._chat.tokens(ids),
            logprobs=tuple(scores.logprobs),
            top_logprobs=tuple(map(self._chat.scored, scores.top_ids, scores.top_logprobs)),
            mean_entropy=sampled.mean_entropy,
            token_bytes=tuple(map(self._chat.token_bytes, ids)),
            accepted_prediction_tokens=sampled.accepted_prediction_tokens,
            rejected_prediction_tokens=sampled.rejected_prediction_tokens,
        )

    async def _prompt_logprobs(self, weights: Weights, ids: Sequence[int], scores: ScoredIds) -> PromptLogprobs:
        """The log probabilities of a prompt's tokens as callers see them; `scores` are of all but the first."""
        return await unblocked(_size(scores), self._as_prompt_logprobs, weights, ids, scores)

    def _as_prompt_logprobs(self, weights: Weights, ids: Sequence[int], scores: ScoredIds) -> PromptLogprobs:
        return PromptLogprobs(
            weights=weights,
            tokens=self._chat.tokens(ids),
            token_bytes=tuple(map(self._chat.token_bytes, ids)),
            logprobs=tuple(scores.logprobs),
            top_logprobs=tuple(map(self._chat.scored, scores.top_ids, scores.top_logprobs)),
        )


_CHARACTERS_PER_LOGPROB = 8


def _size(scores: ScoredIds) -> int:
    """The work of decoding these, as an equivalent number of characters."""
    return _CHARACTERS_PER_LOGPROB * (len(scores.logprobs) + sum(map(len, scores.top_ids)))


class Clock:
    """Milliseconds of wall time, by the name of the part."""

    def __init__(self) -> None:
        self.timing_ms: dict[str, float] = {}

    @contextmanager
    def timing(self, part: str) -> Generator[None]:
        """Record how long the block takes, also when it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timing_ms[part] = (time.perf_counter() - start) * 1e3
