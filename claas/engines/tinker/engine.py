"""The Tinker engine: implements the engine protocol with a service that trains and samples and a local store."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from json import loads
from pathlib import Path
from typing import Any

from claas.core.checks import in_range
from claas.core.errors import BadRequest, ClaasError, StackError
from claas.engines.remote import RemoteEngine
from claas.engines.store import recorded_date, write_directory
from claas.engines.text import ChatFormat
from claas.engines.tinker.learner import TinkerLearner
from claas.engines.tinker.names import ServedModel, require_key, require_served
from claas.engines.tinker.service import TinkerService
from claas.engines.tinker.versions import TinkerStore, TinkerVersion, complete, digest_of
from claas.engines.types import Health, OnPiece, Prompt, Sample, SamplingParams, Weights
from claas.engines.versioned import SampledIds, ScoredIds
from claas.models.files import TEXT_FILES, model_directory


class TinkerEngine(RemoteEngine[TinkerVersion]):
    """Implements `claas.engines.base.Engine` at a Tinker service.

    It cannot stream. Answers are sampled to their end of turn and cut at stop strings afterwards, so that tokens beyond
    one are paid for. An update continues if its caller is gone, since it has been paid for.
    """

    def __init__(
        self,
        service: TinkerService,
        listed: ServedModel,
        chat: ChatFormat,
        window: int,
        store_root: Path,
        *,
        keep_last: bool,
        lock_timeout_s: float,
    ) -> None:
        base = Weights(None, 0, digest_of(listed.name), listed.name)
        self._trainer = TinkerLearner(service, TinkerStore(store_root), chat, base, window, keep_last=keep_last)
        super().__init__(self._trainer, lock_timeout_s)
        self._service = service
        self._exports = store_root / ".exports"

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
        service, listed = TinkerService.open(base_url, require_key(key), base_model, timeout_s)
        directory = model_directory(base_model, TEXT_FILES)
        stops = _setting(directory, "generation_config.json", "eos_token_id")
        chat = ChatFormat.load(str(directory), base_model, stops, recorded_date(store_root))
        window = listed.window or _setting(directory, "config.json", "max_position_embeddings")
        if not isinstance(window, int):
            raise StackError(
                f"neither Tinker nor the model's configuration says how long a prompt {base_model!r} takes"
            )
        return cls(service, listed, chat, window, store_root, keep_last=keep_last, lock_timeout_s=lock_timeout_s)

    async def sample(
        self, weights: Weights, prompt: Prompt, params: SamplingParams, on_piece: OnPiece | None = None
    ) -> Sample:
        """Sample one answer. It arrives whole."""
        prompt_ids = await self._ids(prompt)
        params = self._completed(params, len(prompt_ids))
        sampled = await self._service.sample(self._path(weights), prompt_ids, params, sorted(self._chat.stop_ids))
        return await self._sample(weights, prompt_ids, self._stopped(sampled, params.stop), params.stop)

    async def import_checkpoint(self, lora_id: str, path: str) -> Weights:
        """Create version 0 from a checkpoint of the service, unless it exists already."""
        return await self._exclusively(lora_id, lambda: self._trainer.import_checkpoint(lora_id, path))

    async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
        """A directory with the version as PEFT loads it, downloaded once."""
        record = self._store.get(lora_id, version)
        directory = self._exports / record.weights.digest
        if not directory.is_dir():
            files = await self._exclusively(lora_id, lambda: self._trainer.export(record))
            await asyncio.to_thread(write_directory, directory, complete(files))
        return directory

    async def health(self) -> Health:
        """Whether the service answers and still lists the base model."""
        detail: dict[str, str | int | float | bool] = {
            "engine": "tinker",
            "service": self._service.address,
            "window": self.window,
            "adapters": len(self._store.adapters()),
        }
        try:
            require_served(self.base_model, await self._service.models())
        except ClaasError as error:
            return Health(False, self.base_model, {**detail, "reason": str(error)})
        return Health(True, self.base_model, detail)

    async def close(self) -> None:
        """End the session at the service, which otherwise times out by itself."""
        try:
            await self._service.close()
        except ClaasError:
            return

    async def _logprobs(self, weights: Weights, ids: Sequence[int], top_logprobs: int) -> ScoredIds:
        path = self._path(weights)
        logprobs = await self._service.logprobs(path, ids)
        if not top_logprobs:
            return ScoredIds(logprobs, [], [])
        top_ids, values = await self._service.top_logprobs(path, ids, top_logprobs)
        if len(top_ids) != len(logprobs):
            raise BadRequest("this Tinker service does not tell the likeliest tokens of a prompt; ask without them")
        return ScoredIds(logprobs, top_ids, values)

    def _path(self, weights: Weights) -> str | None:
        """The checkpoint of `weights`, None for the base model."""
        return None if weights.lora_id is None else self._store.exactly(weights).sampler_path

    def _stopped(self, sampled: SampledIds, stops: Sequence[str]) -> SampledIds:
        """The answer up to the token that completes a stop string."""
        ids, scores = sampled.token_ids, sampled.scores

        def stopped(length: int) -> bool:
            text = self._chat.text(ids[:length])
            return any(stop in text for stop in stops)

        if not stopped(len(ids)):
            return sampled
        end = bisect_left(range(len(ids)), True, key=stopped)
        cut_scores = ScoredIds(scores.logprobs[:end], scores.top_ids[:end], scores.top_logprobs[:end])
        return replace(sampled, token_ids=ids[:end], scores=cut_scores, finish_reason="stop")


def _setting(directory: Path, file: str, name: str) -> Any:
    """A setting of the model, None where the file or the setting is not there."""
    path = directory / file
    return loads(path.read_bytes()).get(name) if path.exists() else None
