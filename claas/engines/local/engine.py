"""The local engine: what the engine protocol promises, put together from decoding, scoring, learning and storing."""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from claas.core.checks import in_range
from claas.core.settings import TrainingConfig
from claas.engines.base import (
    AdapterSpec,
    Health,
    Message,
    OnPiece,
    Prompt,
    Reading,
    Sample,
    SamplingParams,
    Score,
    TokenIds,
    TrainingItem,
    Update,
    Weights,
    require_window,
)
from claas.engines.local.decode import MOST_TOP_LOGPROBS, Decoded, Decoder, DecodeRequest
from claas.engines.local.forward import forward_of
from claas.engines.local.learner import Learner
from claas.engines.local.model import LoadedModel
from claas.engines.local.score import Scored, Scorer, ScoreRequest
from claas.engines.local.threads import Batcher, Teller
from claas.engines.local.versions import Adapters, VersionStore
from claas.engines.store import AdapterLocks
from claas.engines.text import cut

T = TypeVar("T")

_MOST_THREADS = 4


class LocalEngine:
    """Implements `claas.engines.base.Engine` on this machine.

    Threads that decode, threads that score and one that learns. Each runs a module tree of its own over the same base
    parameters, so that none waits for another.
    """

    def __init__(self, base: LoadedModel, store: VersionStore, *, max_batch_rows: int, lock_timeout_s: float) -> None:
        self._base = base
        self._store = store
        self._adapters = Adapters(base, store)
        self._batcher = Batcher([self._decoder() for _ in range(_threads(base))], max_batch_rows)
        self._scorer = Scorer([forward_of(base, self._adapters.head) for _ in range(_threads(base))], base.device)
        self._learner = Learner(base, store)
        self._learning = ThreadPoolExecutor(1, thread_name_prefix="claas-learn")
        self._locks = AdapterLocks(lock_timeout_s)

    @classmethod
    def open(
        cls,
        base_model: str,
        store_root: Path,
        *,
        max_batch_rows: int = 64,
        lock_timeout_s: float = 60.0,
        persist: Callable[[], None] | None = None,
    ) -> "LocalEngine":
        """Load `base_model` (`claas-tiny`, a directory or a hub id) and restore the adapters under `store_root`.

        A thread decodes at most `max_batch_rows` answers at a time. An update that cannot have its adapter within
        `lock_timeout_s` raises `Conflict`. `persist` makes durable what was written, where the disk alone does not.
        """
        in_range("max_batch_rows", max_batch_rows, 1)
        base = LoadedModel.load(base_model)
        store = VersionStore(store_root, persist)
        return cls(base, store, max_batch_rows=max_batch_rows, lock_timeout_s=lock_timeout_s)

    @property
    def base_model(self) -> str:
        """The served name of the base model."""
        return self._base.weights.base_model

    @property
    def window(self) -> int:
        """The most tokens of prompt and answer together."""
        return self._base.window

    async def encode(self, prompt: Sequence[Message] | str) -> TokenIds:
        """The tokens of a conversation by the chat template, or of plain text as it is."""
        return self._base.chat.encode(prompt)

    async def decode(self, prompt: TokenIds) -> str:
        """What tokens read as, special ones included."""
        return self._base.chat.decode(prompt)

    async def resolve(self, lora_id: str | None, version: int | None = None) -> Weights:
        """The weights of an adapter's `version`, or of its newest; of the base model when `lora_id` is None."""
        return self._base.weights if lora_id is None else self._store.get(lora_id, version).weights

    async def sample(
        self, weights: Weights, prompt: Prompt, params: SamplingParams, on_piece: OnPiece | None = None
    ) -> Sample:
        """Sample one answer, decoded together with all that are under way, and independent of them."""
        prompt_ids = self._base.chat.ids_of(prompt)
        request = DecodeRequest(
            prompt_ids=prompt_ids,
            weights=await self._adapters.get(weights),
            params=self._clamped(params, len(prompt_ids)),
        )
        if on_piece is not None:
            request.on_token = Teller(request, self._base.chat, on_piece).listener()
        decoded = await asyncio.wrap_future(self._batcher.submit(request))
        return self._sample(weights, request, decoded)

    async def score(self, weights: Weights, messages: Sequence[Message], completion: str) -> Score:
        """Log probabilities of `completion` and the end-of-turn token as the answer to `messages`."""
        prompt_ids = self._base.chat.prompt_ids(messages)
        completion_ids = self._base.chat.completion_ids(completion)
        self._require_window(len(prompt_ids), len(completion_ids))
        request = ScoreRequest(prompt_ids, completion_ids, await self._adapters.get(weights))
        scored = await asyncio.wrap_future(self._scorer.submit(request))
        return Score(weights, len(prompt_ids), self._base.chat.tokens(completion_ids), tuple(scored.logprobs))

    async def read(self, weights: Weights, prompt: TokenIds, top_logprobs: int = 0) -> Reading:
        """Log probabilities of every token of `prompt`, and of its `top_logprobs` likeliest alternatives."""
        in_range("top_logprobs", top_logprobs, 0, MOST_TOP_LOGPROBS)
        chat, ids = self._base.chat, self._base.chat.ids_of(prompt)
        self._require_window(len(ids), 0)
        scored = Scored([], [], [])
        if len(ids) > 1:
            adapter = await self._adapters.get(weights)
            request = ScoreRequest(ids[:1], ids[1:], adapter, top_logprobs)
            scored = await asyncio.wrap_future(self._scorer.submit(request))
        return Reading(
            weights=weights,
            tokens=chat.tokens(ids),
            token_bytes=tuple(map(chat.token_bytes, ids)),
            logprobs=tuple(scored.logprobs),
            top_logprobs=tuple(map(chat.scored, scored.top_ids, scored.top_logprobs)),
        )

    async def update(self, lora_id: str, items: Sequence[TrainingItem], training: TrainingConfig, key: str) -> Update:
        """One SDPO update of the newest version, making the next one, exactly once per `key`."""
        async with self._locks.holding(lora_id):
            return await self._learn(lambda: self._learner.update(lora_id, items, training, key))

    async def init_adapter(self, spec: AdapterSpec) -> Weights:
        """Create version 0, which answers exactly as the base model. An existing id raises `Conflict`."""
        async with self._locks.holding(spec.lora_id):
            return await self._learn(lambda: self._learner.init(spec))

    async def list_adapters(self, prefix: str = "") -> list[Weights]:
        """The newest version of every adapter whose id starts with `prefix`, sorted by id."""
        return [self._store.get(known).weights for known in self._store.adapters() if known.startswith(prefix)]

    async def delete_adapter(self, lora_id: str) -> bool:
        """Remove an adapter and all its versions; False when there was none."""
        async with self._locks.holding(lora_id):
            return await self._learn(lambda: self._store.delete(lora_id))

    async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
        """The version's own directory: a standard PEFT adapter, with `version.json` beside it. Read only."""
        return self._store.directory(self._store.get(lora_id, version))

    async def health(self) -> Health:
        """What runs where, and how much there is to do."""
        return Health(
            ok=self._batcher.alive and self._scorer.alive,
            base_model=self.base_model,
            detail={
                "engine": "local",
                "device": self._base.device.type,
                "window": self._base.window,
                "adapters": len(self._store.adapters()),
                "requests": self._batcher.load,
            },
        )

    async def close(self) -> None:
        """Stop the threads. An update under way is finished; answers and scores under way fail."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._batcher.close()
        self._scorer.close()
        self._learning.shutdown(wait=True, cancel_futures=True)

    def _decoder(self) -> Decoder:
        base = self._base
        return Decoder(forward_of(base, self._adapters.head), base.device, base.chat.stop_ids, base.chat.text)

    async def _learn(self, work: Callable[[], T]) -> T:
        """Run `work` in the learning thread, to its end even when the caller is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._learning, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    def _clamped(self, params: SamplingParams, prompt_tokens: int) -> SamplingParams:
        """The parameters checked, seeded, and with no more tokens than fit the window."""
        in_range("max_tokens", params.max_tokens, 1)
        in_range("temperature", params.temperature, 0.0)
        in_range("top_p", params.top_p, 0.0, 1.0, above=True)
        in_range("top_logprobs", params.top_logprobs, 0, MOST_TOP_LOGPROBS)
        self._require_window(prompt_tokens, 1)
        room = self._base.window - prompt_tokens
        seed = int.from_bytes(os.urandom(8)) if params.seed is None else params.seed
        stops = tuple(stop for stop in params.stop if stop)
        return replace(params, max_tokens=min(params.max_tokens, room), seed=seed, stop=stops)

    def _require_window(self, prompt_tokens: int, answer_tokens: int) -> None:
        require_window(prompt_tokens, answer_tokens, window=self._base.window, base_model=self.base_model)

    def _sample(self, weights: Weights, request: DecodeRequest, decoded: Decoded) -> Sample:
        chat = self._base.chat
        alternatives = zip(decoded.top_ids, decoded.top_logprobs, strict=True)
        return Sample(
            weights=weights,
            text=cut(chat.text(decoded.token_ids), request.params.stop),
            finish_reason=decoded.finish_reason,
            prompt_ids=tuple(request.prompt_ids),
            token_ids=tuple(decoded.token_ids),
            tokens=chat.tokens(decoded.token_ids),
            logprobs=tuple(decoded.logprobs),
            top_logprobs=tuple(chat.scored(ids, logprobs) for ids, logprobs in alternatives),
            mean_entropy=decoded.mean_entropy,
            token_bytes=tuple(map(chat.token_bytes, decoded.token_ids)),
        )


def _threads(base: LoadedModel) -> int:
    """Of each kind of work: where one operation runs on one core, as many as there are cores, up to a few."""
    return min(os.cpu_count() or 1, _MOST_THREADS) if base.small else 1
