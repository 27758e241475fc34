"""The vLLM engine: implements the engine protocol with a vLLM server for inference and a learner on this machine."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from pydantic import JsonValue

from claas.core.errors import ClaasError, NotFound, StackError
from claas.engines.local.learner import LocalLearner
from claas.engines.local.lora import config_json, kind_of
from claas.engines.local.model import LoadedModel, linear_layers
from claas.engines.local.versions import LocalStore, LocalVersion
from claas.engines.remote import RemoteEngine
from claas.engines.store import ADAPTER_CONFIG, ADAPTER_WEIGHTS, recorded_date
from claas.engines.types import AdapterSpec, Health, OnPiece, Prompt, Sample, SamplingParams, Weights
from claas.engines.versioned import ScoredIds
from claas.engines.vllm.adapters import LoadedAdapters, emptied, zeros
from claas.engines.vllm.check import largest_gap
from claas.engines.vllm.client import VllmClient
from claas.engines.vllm.server import BaseToServe, VllmServer, program_of
from claas.engines.vllm.settings import KEY_VARIABLE, URL_VARIABLE, VllmSettings
from claas.engines.vllm.sleeping import Sleeping
from claas.models.sources import model_source

T = TypeVar("T")
_log = logging.getLogger(__name__)


class VllmEngine(RemoteEngine[LocalVersion]):
    """Implements `claas.engines.base.Engine` with vLLM, and with the local engine's learner and store.

    It cannot stream, and sees no entropy: vLLM only reports the likeliest tokens.
    """

    def __init__(
        self,
        base: LoadedModel,
        store: LocalStore,
        client: VllmClient,
        served: Path,
        *,
        window: int,
        sleep_mode: bool | None,
        most_adapters: int,
        lock_timeout_s: float,
        server: VllmServer | None = None,
        model_check: str = "skipped",
    ) -> None:
        self._trainer = LocalLearner(base, store)
        super().__init__(self._trainer, lock_timeout_s)
        self._model = base
        self._versions = store
        self._client = client
        self._server = server
        self._window = window
        self._model_check = model_check
        self._stop_ids = sorted(base.chat.stop_ids)
        self._adapters = LoadedAdapters(client, served, most_adapters, self._files)
        self._sleeping = Sleeping(client, sleep_mode)

    @classmethod
    def open(cls, config: VllmSettings) -> "VllmEngine":
        """Load the base model for training, and find or start a server for it. Not to be called from an event loop.

        Raises `InvalidInput` for a server of other weights or without adapters, `StackError` where there is none.
        """
        url, key, server = config.vllm_url or os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE), None
        if not url:
            program_of(config)  # said before anything is loaded
        root = Path(config.store_dir)
        base = LoadedModel.load(config.base_model_name, recorded_date(root / "adapters"))
        store = LocalStore(root / "adapters")
        served = emptied(root / "vllm" / "served")
        with ExitStack() as on_failure:
            if not url:
                server = VllmServer.start(
                    _base_to_serve(base, config.vllm_window), config, root / "vllm" / "server.log"
                )
                on_failure.callback(server.stop)
                url, key = server.url, server.key
            trouble = server.trouble if server else lambda: None
            opening, client = (VllmClient(url, key, config.vllm_timeout_s, trouble) for _ in range(2))
            window, sleep_mode, model_check = asyncio.run(_introduced(opening, base, served, check=config.check_model))
            on_failure.pop_all()
        return cls(
            base,
            store,
            client,
            served,
            window=window,
            sleep_mode=sleep_mode,
            most_adapters=config.vllm_adapters,
            lock_timeout_s=config.lock_timeout_s,
            server=server,
            model_check=model_check,
        )

    @property
    def base_source(self) -> str:
        """The exact source of the weights of the model that is trained."""
        return self._model.source

    @property
    def window(self) -> int:
        """The server's context window; training may use the model's whole window."""
        return self._window

    async def sample(
        self, weights: Weights, prompt: Prompt, params: SamplingParams, on_piece: OnPiece | None = None
    ) -> Sample:
        """Sample one answer. It arrives whole."""
        prompt_ids = await self._ids(prompt)
        params = self._completed(params, len(prompt_ids))
        sampled = await self._asked(weights, lambda name: self._client.sample(name, prompt_ids, params, self._stop_ids))
        return await self._sample(weights, prompt_ids, sampled, params.stop)

    async def init_adapter(self, spec: AdapterSpec) -> Weights:
        """Create version 0, unless it exists already; it is undone if the server cannot load it."""
        return await self._served(spec.lora_id, super().init_adapter(spec))

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        """Create version 0 from given weights, unless it exists already; it is undone if the server cannot load it."""
        return await self._served(lora_id, super().import_adapter(lora_id, config, weights))

    async def sleep(self, level: int) -> bool:
        """Put the server to sleep once pending requests are done; new ones wait for `wake`. Returns whether it did."""
        return await self._sleeping.sleep(level)

    async def wake(self, now: bool) -> bool:
        """Undo one successful `sleep`. Returns whether the server was woken: `now`, else the next request wakes it."""
        return await self._sleeping.wake(now)

    async def export_adapter(self, lora_id: str, version: int | None = None) -> Path:
        """The version's own directory: a standard PEFT adapter, with `version.json` beside it. Read only."""
        return self._versions.directory(self._store.get(lora_id, version))

    async def health(self) -> Health:
        """What runs where. Not ok if the server cannot be reached, or the learner has ended."""
        detail: dict[str, str | int | float | bool] = {
            "engine": "vllm",
            "server": self._client.url,
            "started_here": self._server is not None,
            "learner": self._model.device.type,
            "base_digest": self._base.digest,
            "base_source": self.base_source,
            "window": self.window,
            "model_check": self._model_check,
            "adapters": len(self._store.adapters()),
            "loaded": len(self._adapters),
        }
        try:
            await self._client.require_healthy()
        except ClaasError as error:
            return Health(False, self.base_model, {**detail, "reason": str(error)})
        if reason := self._trainer.trouble:
            return Health(False, self.base_model, {**detail, "reason": reason})
        return Health(True, self.base_model, detail)

    async def close(self) -> None:
        """Stop the learner after any update in progress, and our own server; from another, unload our adapters."""
        await asyncio.to_thread(self._trainer.close)
        try:
            if self._server is None:
                await self._sleeping.rouse()
                await self._adapters.clear()
        except ClaasError as error:
            _log.warning("adapters stay loaded: %s", error)
        finally:
            await self._client.close()
            if self._server is not None:
                await asyncio.to_thread(self._server.stop)

    async def _logprobs(self, weights: Weights, ids: Sequence[int], top_logprobs: int) -> ScoredIds:
        return await self._asked(weights, lambda name: self._client.logprobs(name, ids, top_logprobs))

    async def _asked(self, weights: Weights, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask the server about exactly these weights, loading them again if it was restarted."""
        async with self._sleeping.awake():
            async with self._adapters.using(weights) as name:
                try:
                    return await ask(name)
                except NotFound:
                    self._adapters.forget(weights, name)
            async with self._adapters.using(weights) as name:
                return await ask(name)

    async def _served(self, lora_id: str, making: Awaitable[Weights]) -> Weights:
        """Make an adapter and load it at the server; undo it if the server cannot load it."""
        existed = lora_id in self._store.adapters()
        weights = await making
        try:
            async with self._sleeping.awake(), self._adapters.using(weights):
                return weights
        except ClaasError:
            if not existed:
                await self.delete_adapter(lora_id)
            raise

    def _files(self, weights: Weights) -> Mapping[str, bytes]:
        """The files of the adapter with these weights, in PEFT's format, checked against their digest."""
        if weights.lora_id is None:
            return zeros(self._model)
        record = self._versions.exactly(weights)
        record.require_base(self._base)
        config = config_json(record.shape, self._model)
        return {ADAPTER_CONFIG: config, ADAPTER_WEIGHTS: self._versions.read_adapter(record)}


async def _introduced(
    client: VllmClient, base: LoadedModel, served: Path, *, check: bool
) -> tuple[int, bool | None, str]:
    """The server's context window, how it can sleep, and the result of checking its numbers."""
    try:
        if (sleep_mode := await client.sleep_mode()) is not None:
            await client.resume(sleep=sleep_mode)  # a process that was killed may have left it asleep
        window = await _window(client, base, served)
        gap = await largest_gap(base, client, served) if check else None
    finally:
        await client.close()
    return window, sleep_mode, "skipped" if gap is None else f"passed, {gap:.1g} nats apart"


async def _window(client: VllmClient, base: LoadedModel, served: Path) -> int:
    """The server's context window. Also unloads adapters that an earlier process left loaded."""
    models = await client.models()
    for left in (model for model in models if model.parent is not None and model.root.startswith(f"{served}/")):
        await client.unload(left.name)
    longest = next((model.max_model_len for model in models if model.parent is None), None)
    if longest is None:
        raise StackError(f"the vLLM at {client.url} does not say how many tokens it takes; see docs/vllm.md")
    window = min(base.window, longest - 1)  # one token is sampled after whatever is read
    if window < base.window - 1:
        name = base.weights.name
        _log.warning("vLLM serves %s up to %d of its %d tokens (--max-model-len)", name, window, base.window)
    return window


def _base_to_serve(base: LoadedModel, window: int | None) -> BaseToServe:
    """How our own server should serve the model that is loaded here."""
    config: Any = base.config
    name = base.weights.base_model
    first = next(base.model.parameters())
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return BaseToServe(
        directory=model_source(name).directory.absolute(),
        name=name,
        dtype=str(first.dtype).removeprefix("torch."),
        window=min(window or base.window, base.window),
        kv_bytes=2 * config.num_hidden_layers * heads * head * first.element_size(),
        linear_kinds=sorted({kind_of(layer) for layer in linear_layers(base.model)}),
        on_gpu=first.is_cuda,
    )
