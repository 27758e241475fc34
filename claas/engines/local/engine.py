"""The local engine: implements the engine protocol by decoding, scoring, training and storing on this machine."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from claas.core.checks import in_range
from claas.core.concurrency import unblocked
from claas.engines.local.decode import DecodeJob, Decoder
from claas.engines.local.learner import LocalLearner
from claas.engines.local.llama import forwards_of
from claas.engines.local.memory import give_back, share_heaps
from claas.engines.local.model import LoadedModel
from claas.engines.local.model_check import checked_once
from claas.engines.local.prediction import Prediction
from claas.engines.local.score import ScoreJob, Scorer, shared_prefix
from claas.engines.local.threads import Batcher, StreamingText
from claas.engines.local.versions import AdapterCache, LocalStore, LocalVersion
from claas.engines.store import recorded_date
from claas.engines.types import (
    ContinuationScore,
    Health,
    Message,
    OnPiece,
    Prompt,
    PromptLogprobs,
    Sample,
    SamplingParams,
    Score,
    TokenIds,
    Weights,
)
from claas.engines.versioned import MOST_TOP_LOGPROBS, ScoredIds, VersionedEngine

_MOST_THREADS = 4


class LocalEngine(VersionedEngine[LocalVersion]):
    """Implements `claas.engines.base.Engine` on this machine.

    Several threads decode, several score and one trains. Each runs a module tree of its own over the same base
    parameters, so that none waits for another.
    """

    def __init__(
        self,
        base: LoadedModel,
        store: LocalStore,
        *,
        max_batch_rows: int,
        lock_timeout_s: float,
        model_check: str = "skipped",
    ) -> None:
        share_heaps()
        self._trainer = LocalLearner(base, store)
        super().__init__(self._trainer, lock_timeout_s)
        self._device = base.device
        self._dtype = str(base.dtype).removeprefix("torch.")
        self._source = base.source
        self._model_check = model_check
        self._directory_of = store.directory
        self._adapters = AdapterCache(base, store)
        # Where one operation runs on one core, as many threads of each kind as there are cores, up to a few.
        threads = min(os.cpu_count() or 1, _MOST_THREADS) if base.packed else 1
        forwards = forwards_of(base, self._adapters.of_base, 2 * threads)
        chat = base.chat
        decoders = [
            Decoder(forward, base.device, chat.stop_ids, chat.text, chat.opening) for forward in forwards[:threads]
        ]
        self._batcher = Batcher(decoders, max(1, max_batch_rows // threads))
        self._scorer = Scorer(forwards[threads:], base.device, base.config.vocab_size)

    @classmethod
    def open(
        cls,
        base_model: str,
        store_root: Path,
        *,
        max_batch_rows: int = 64,
        lock_timeout_s: float = 60.0,
        check_model: bool = True,
        dtype: str | None = None,
        persist: Callable[[], None] = lambda: None,
    ) -> "LocalEngine":
        """Load `base_model`, a name that `claas.models.sources` knows, and restore the adapters under `store_root`.

        At most `max_batch_rows` answers are decoded at a time, shared equally among the threads; urgent ones do not
        count. An update that cannot have its adapter within `lock_timeout_s` raises `Conflict`. With `check_model`, a
        model that the engine does not compute correctly raises `InvalidInput`. `dtype` is that of `LoadedModel.load`.
        `persist` makes writes durable where the disk alone does not.
        """
        in_range("max_batch_rows", max_batch_rows, 1)
        base = LoadedModel.load(base_model, recorded_date(store_root), dtype)
        store = LocalStore(store_root, persist)
        return cls(
            base,
            store,
            max_batch_rows=max_batch_rows,
            lock_timeout_s=lock_timeout_s,
            model_check=checked_once(base, store_root / ".model_check.json") if check_model else "skipped",
        )

    @property
    def base_source(self) -> str:
        """The exact source of the base model's weights."""
        return self._source

    async def sample(
        self, weights: Weights, prompt: Prompt, params: SamplingParams, on_piece: OnPiece | None = None
    ) -> Sample:
        """Sample one answer, batched with concurrent ones but independent of them."""
        prompt_ids = await self._ids(prompt)
        params = self._completed(params, len(prompt_ids))
        job = DecodeJob(prompt_ids, await self._adapters.get(weights), params, await self._prediction(params))
        if on_piece is not None:
            job.on_token = StreamingText(job, self._chat, on_piece).listener()
        sampled = await asyncio.wrap_future(self._batcher.submit(job))
        return await self._sample(weights, prompt_ids, sampled, job.params.stop)

    async def _prediction(self, params: SamplingParams) -> Prediction:
        """The predicted answer as tokens, cut to the longest possible answer."""
        text = params.prediction[: params.max_tokens * self._chat.longest_token]
        return Prediction(await unblocked(len(text), self._chat.completion_ids, text) if text else ())

    async def score(self, weights: Weights, messages: Sequence[Message], completion: str) -> Score:
        """Log probabilities of `completion` and the end-of-turn token as the answer to `messages`."""
        prompt_ids = await self._ids(messages)
        completion_ids = await unblocked(len(completion), self._chat.completion_ids, completion)
        self._require_window(len(prompt_ids), len(completion_ids))
        job = ScoreJob(prompt_ids, [completion_ids], await self._adapters.get(weights))
        (scored,) = await asyncio.wrap_future(self._scorer.submit(job))
        return Score(weights, tuple(prompt_ids), self._chat.tokens(completion_ids), tuple(scored.logprobs))

    async def read(self, weights: Weights, prompt: TokenIds, top_logprobs: int = 0) -> PromptLogprobs:
        """Log probabilities of every token of `prompt`, and of its `top_logprobs` likeliest alternatives."""
        in_range("top_logprobs", top_logprobs, 0, MOST_TOP_LOGPROBS)
        ids = await self._ids(prompt)
        self._require_window(len(ids), 0)
        scored = ScoredIds([], [], [])
        if len(ids) > 1:
            job = ScoreJob(ids[:1], [ids[1:]], await self._adapters.get(weights), top_logprobs)
            (scored,) = await asyncio.wrap_future(self._scorer.submit(job))
        return await self._prompt_logprobs(weights, ids, scored)

    async def score_continuations(
        self, weights: Weights, prompt: TokenIds, continuations: Sequence[Sequence[int]]
    ) -> list[ContinuationScore]:
        """Log probabilities of each continuation, the prompt's keys and values computed once for all of them."""
        ids, completions = await self._ids_and_continuations(prompt, continuations)
        job = ScoreJob(ids, completions, await self._adapters.get(weights), top_logprobs=1, prefix=shared_prefix(ids))
        return list(map(_continuation_score, await asyncio.wrap_future(self._scorer.submit(job))))

    async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
        """The version's own directory: a standard PEFT adapter, with `version.json` beside it. Read only."""
        return self._directory_of(self._store.get(lora_id, version))

    async def health(self) -> Health:
        """What runs where, and the current load. Not ok once threads have ended, for the given `reason`."""
        troubles = [part.trouble for part in (self._batcher, self._scorer, self._trainer)]
        detail: dict[str, str | int | float | bool] = {
            "engine": "local",
            "device": self._device.type,
            "dtype": self._dtype,
            "base_digest": self._base.digest,
            "base_source": self.base_source,
            "window": self.window,
            "model_check": self._model_check,
            "adapters": len(self._store.adapters()),
            "requests": self._batcher.load,
        }
        if reason := next(filter(None, troubles), None):
            return Health(False, self.base_model, {**detail, "reason": reason})
        return Health(True, self.base_model, detail)

    async def close(self) -> None:
        """Stop the threads. An update in progress is finished; answers and scores in progress fail."""
        for part in (self._batcher, self._scorer, self._trainer):
            await asyncio.to_thread(part.close)
        self._adapters.clear()
        give_back()


def _continuation_score(scored: ScoredIds) -> ContinuationScore:
    likeliest = (logprob >= top[0] for logprob, top in zip(scored.logprobs, scored.top_logprobs, strict=True))
    return ContinuationScore(tuple(scored.logprobs), tuple(likeliest))
