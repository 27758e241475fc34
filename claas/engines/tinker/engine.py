"""The Tinker engine: the engine protocol, by a service that trains and samples and a store of versions."""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from json import loads
from pathlib import Path
from typing import Any, Literal, TypeVar

from claas.core.checks import in_range
from claas.core.errors import BadRequest, ClaasError, Conflict, StackError
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
    TokenLogprob,
    TrainingItem,
    Update,
    Weights,
    require_window,
)
from claas.engines.model_files import TEXT_FILES, model_directory, write
from claas.engines.store import AdapterLocks
from claas.engines.text import Chat, cut
from claas.engines.tinker.learner import Learner
from claas.engines.tinker.names import ServedModel, require_key, require_served
from claas.engines.tinker.service import Sampled, Service
from claas.engines.tinker.versions import VersionStore, complete, digest_of

T = TypeVar("T")

_MOST_TOP_LOGPROBS = 20


class TinkerEngine:
    """Implements `claas.engines.base.Engine` at a Tinker service.

    It cannot stream, and answers are sampled to their end of turn: stop strings cut them here, afterwards, so that
    tokens beyond one are paid for.
    """

    def __init__(
        self,
        service: Service,
        listed: ServedModel,
        chat: Chat,
        window: int,
        store_root: Path,
        *,
        keep_last: bool,
        lock_timeout_s: float,
    ) -> None:
        self._service = service
        self._chat = chat
        self._window = window
        self._root = store_root
        self._base = Weights(None, 0, digest_of(listed.name), listed.name)
        self._store = VersionStore(store_root)
        self._learner = Learner(service, self._store, chat, self._base, window, keep_last=keep_last)
        self._locks = AdapterLocks(lock_timeout_s)

    @classmethod
    def open(
        cls,
        base_model: str,
        store_root: Path,
        *,
        key: str | None,
        base_url: str | None = None,
        keep_last: bool = False,
        timeout_s: float = 180.0,
        lock_timeout_s: float = 60.0,
    ) -> "TinkerEngine":
        """Begin a session at `base_url` (None: what TINKER_BASE_URL says, else Thinking Machines' own service).

        `keep_last`: old versions are deleted at the service. `timeout_s` bounds each request. Raises `InvalidInput` for
        a missing or malformed key and for a base model that the service does not list.
        """
        in_range("timeout_s", timeout_s, 0.0, above=True)
        service, listed = Service.open(base_url, require_key(key), base_model, timeout_s)
        directory = model_directory(base_model, TEXT_FILES)
        chat = Chat.load(str(directory), base_model, _setting(directory, "generation_config.json", "eos_token_id"))
        window = listed.window or _setting(directory, "config.json", "max_position_embeddings")
        if not isinstance(window, int):
            raise StackError(
                f"neither Tinker nor the model's configuration says how long a prompt {base_model!r} takes"
            )
        return cls(service, listed, chat, window, store_root, keep_last=keep_last, lock_timeout_s=lock_timeout_s)

    @property
    def base_model(self) -> str:
        """The served name of the base model."""
        return self._base.base_model

    @property
    def window(self) -> int:
        """The most tokens of prompt and answer together."""
        return self._window

    async def encode(self, prompt: Sequence[Message] | str) -> TokenIds:
        """The tokens of a conversation by the chat template, or of plain text as it is."""
        return self._chat.encode(prompt)

    async def decode(self, prompt: TokenIds) -> str:
        """What tokens read as, special ones included."""
        return self._chat.decode(prompt)

    async def resolve(self, lora_id: str | None, version: int | None = None) -> Weights:
        """The weights of an adapter's `version`, or of its newest; of the base model when `lora_id` is None."""
        return self._base if lora_id is None else self._store.get(lora_id, version).weights

    async def sample(
        self, weights: Weights, prompt: Prompt, params: SamplingParams, on_piece: OnPiece | None = None
    ) -> Sample:
        """Sample one answer. No pieces are told: the service gives answers whole."""
        prompt_ids = self._chat.ids_of(prompt)
        in_range("max_tokens", params.max_tokens, 1)
        in_range("temperature", params.temperature, 0.0)
        in_range("top_p", params.top_p, 0.0, 1.0, above=True)
        in_range("top_logprobs", params.top_logprobs, 0, _MOST_TOP_LOGPROBS)
        self._require_window(len(prompt_ids), 1)
        sampled = await self._service.sample(
            self._path(weights),
            prompt_ids,
            max_tokens=min(params.max_tokens, self._window - len(prompt_ids)),
            temperature=params.temperature,
            top_p=params.top_p,
            seed=int.from_bytes(os.urandom(4)) if params.seed is None else params.seed,
            stop_ids=sorted(self._chat.stop_ids),
            top_logprobs=params.top_logprobs,
        )
        return self._sample(weights, prompt_ids, sampled, tuple(filter(None, params.stop)))

    async def score(self, weights: Weights, messages: Sequence[Message], completion: str) -> Score:
        """Log probabilities of `completion` and the end-of-turn token as the answer to `messages`."""
        prompt_ids = self._chat.prompt_ids(messages)
        completion_ids = self._chat.completion_ids(completion)
        self._require_window(len(prompt_ids), len(completion_ids))
        scored = await self._service.logprobs(self._path(weights), [*prompt_ids, *completion_ids])
        logprobs = tuple(scored[-len(completion_ids) :])
        return Score(weights, len(prompt_ids), self._chat.tokens(completion_ids), logprobs)

    async def read(self, weights: Weights, prompt: TokenIds, top_logprobs: int = 0) -> Reading:
        """Log probabilities of every token of `prompt`, and of its `top_logprobs` likeliest alternatives."""
        in_range("top_logprobs", top_logprobs, 0, _MOST_TOP_LOGPROBS)
        ids, path = self._chat.ids_of(prompt), self._path(weights)
        self._require_window(len(ids), 0)
        logprobs = await self._service.logprobs(path, ids) if len(ids) > 1 else []
        top: list[list[tuple[int, float]]] = []
        if top_logprobs and len(ids) > 1:
            top = await self._service.top_logprobs(path, ids, top_logprobs)
            if len(top) != len(logprobs):
                raise BadRequest("this Tinker service does not tell the likeliest tokens of a prompt; ask without them")
        return Reading(
            weights=weights,
            tokens=self._chat.tokens(ids),
            token_bytes=tuple(map(self._chat.token_bytes, ids)),
            logprobs=tuple(logprobs),
            top_logprobs=self._alternatives(top),
        )

    async def update(self, lora_id: str, items: Sequence[TrainingItem], training: TrainingConfig, key: str) -> Update:
        """One SDPO update of the newest version, making the next one, exactly once per `key`."""
        return await self._to_its_end(lora_id, self._learner.update(lora_id, items, training, key))

    async def init_adapter(self, spec: AdapterSpec) -> Weights:
        """Create version 0, which answers exactly as the base model. An existing id raises `Conflict`."""
        return await self._to_its_end(spec.lora_id, self._learner.init(spec))

    async def list_adapters(self, prefix: str = "") -> list[Weights]:
        """The newest version of every adapter whose id starts with `prefix`, sorted by id."""
        return [self._store.get(known).weights for known in self._store.adapters() if known.startswith(prefix)]

    async def delete_adapter(self, lora_id: str) -> bool:
        """Remove an adapter and all its versions, at the service too; False when there was none."""
        return await self._to_its_end(lora_id, self._learner.delete(lora_id))

    async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
        """A directory with the version as PEFT loads it, downloaded once."""
        record = self._store.get(lora_id, version)
        directory = self._root / ".exports" / record.weights.digest
        if not directory.is_dir():
            files = await self._to_its_end(lora_id, self._learner.export(record))
            await asyncio.to_thread(write, directory, complete(files))
        return directory

    async def health(self) -> Health:
        """Whether the service answers and still lists the base model."""
        detail: dict[str, str | int | float | bool] = {
            "engine": "tinker",
            "service": self._service.address,
            "window": self._window,
            "adapters": len(self._store.adapters()),
        }
        try:
            require_served(self.base_model, await self._service.models())
        except ClaasError as error:
            return Health(False, self.base_model, {**detail, "reason": str(error)})
        return Health(True, self.base_model, detail)

    async def close(self) -> None:
        """End the session at the service, which it would notice by itself after a while."""
        try:
            await self._service.close()
        except ClaasError:
            return

    def _path(self, weights: Weights) -> str | None:
        """The checkpoint that `weights` are. Raises `Conflict` where its name means another one now."""
        if weights.lora_id is None:
            return None
        record = self._store.get(weights.lora_id, weights.version)
        if record.weights.digest != weights.digest:
            raise Conflict(f"{weights.name} is no longer what it was: its adapter was deleted and made again")
        return record.sampler_path

    async def _to_its_end(self, lora_id: str, work: Coroutine[Any, Any, T]) -> T:
        """`work`, holding the adapter's lock, to its end even when the caller is cancelled: it has been paid for."""

        async def locked() -> T:
            try:
                async with self._locks.holding(lora_id):
                    return await work
            finally:
                work.close()

        task = asyncio.create_task(locked())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    def _require_window(self, prompt_tokens: int, answer_tokens: int) -> None:
        require_window(prompt_tokens, answer_tokens, window=self._window, base_model=self.base_model)

    def _sample(self, weights: Weights, prompt_ids: list[int], sampled: Sampled, stops: Sequence[str]) -> Sample:
        length, finish_reason = self._end(sampled, stops)
        ids = sampled.token_ids[:length]
        return Sample(
            weights=weights,
            text=cut(self._chat.text(ids), stops),
            finish_reason=finish_reason,
            prompt_ids=tuple(prompt_ids),
            token_ids=tuple(ids),
            tokens=self._chat.tokens(ids),
            logprobs=tuple(sampled.logprobs[:length]),
            top_logprobs=self._alternatives(sampled.top[:length]),
            mean_entropy=None,
            token_bytes=tuple(map(self._chat.token_bytes, ids)),
        )

    def _end(self, sampled: Sampled, stops: Sequence[str]) -> tuple[int, Literal["stop", "length"]]:
        """How many tokens there are up to the one that completes a stop string, and why the answer ends there."""
        ids = sampled.token_ids
        if any(stop in self._chat.text(ids) for stop in stops):
            said = (
                length for length in range(1, len(ids) + 1) if any(s in self._chat.text(ids[:length]) for s in stops)
            )
            return next(said), "stop"
        return len(ids), sampled.finish_reason

    def _alternatives(self, rows: Sequence[Sequence[tuple[int, float]]]) -> tuple[tuple[TokenLogprob, ...], ...]:
        return tuple(self._chat.scored([t for t, _ in row], [logprob for _, logprob in row]) for row in rows)


def _setting(directory: Path, file: str, name: str) -> Any:
    """A setting of the model, None where the file or the setting is not there."""
    path = directory / file
    return loads(path.read_bytes()).get(name) if path.exists() else None
