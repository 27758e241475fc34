"""Scoring for engines whose model runs on a server: every score is computed from the server's prompt logprobs."""

from abc import abstractmethod
from collections.abc import Sequence

from claas.core.checks import in_range
from claas.core.concurrency import together, unblocked
from claas.engines.types import ContinuationScore, Message, PromptLogprobs, Score, TokenIds, Weights
from claas.engines.versioned import MOST_TOP_LOGPROBS, ScoredIds, V, VersionedEngine


class RemoteEngine(VersionedEngine[V]):
    """A `VersionedEngine` that scores by `_logprobs`."""

    @abstractmethod
    async def _logprobs(self, weights: Weights, ids: Sequence[int], top_logprobs: int) -> ScoredIds:
        """Log probabilities of all of `ids` (two or more) but the first, and of the likeliest tokens in each place."""

    async def score(self, weights: Weights, messages: Sequence[Message], completion: str) -> Score:
        """Log probabilities of `completion` and the end-of-turn token as the answer to `messages`."""
        prompt_ids = await self._ids(messages)
        completion_ids = await unblocked(len(completion), self._chat.completion_ids, completion)
        self._require_window(len(prompt_ids), len(completion_ids))
        scored = await self._logprobs(weights, [*prompt_ids, *completion_ids], 0)
        logprobs = tuple(scored.logprobs[-len(completion_ids) :])
        return Score(weights, tuple(prompt_ids), self._chat.tokens(completion_ids), logprobs)

    async def read(self, weights: Weights, prompt: TokenIds, top_logprobs: int = 0) -> PromptLogprobs:
        """Log probabilities of every token of `prompt`, and of its `top_logprobs` likeliest alternatives."""
        in_range("top_logprobs", top_logprobs, 0, MOST_TOP_LOGPROBS)
        ids = await self._ids(prompt)
        self._require_window(len(ids), 0)
        scored = await self._logprobs(weights, ids, top_logprobs) if len(ids) > 1 else ScoredIds([], [], [])
        return await self._prompt_logprobs(weights, ids, scored)

    async def score_continuations(
        self, weights: Weights, prompt: TokenIds, continuations: Sequence[Sequence[int]]
    ) -> list[ContinuationScore]:
        """Log probabilities of each continuation after `prompt`, which is processed once per continuation."""
        ids, checked = await self._ids_and_continuations(prompt, continuations)
        return await together(self._score_continuation(weights, ids, each) for each in checked)

    async def _score_continuation(
        self, weights: Weights, prompt_ids: Sequence[int], continuation: Sequence[int]
    ) -> ContinuationScore:
        scored, length = await self._logprobs(weights, [*prompt_ids, *continuation], 1), len(continuation)
        logprobs, tops = scored.logprobs[-length:], scored.top_logprobs[-length:]
        return ContinuationScore(tuple(logprobs), tuple(one >= top[0] for one, top in zip(logprobs, tops, strict=True)))
