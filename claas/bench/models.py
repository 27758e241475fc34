"""The models of a run: each name pinned to the weights that it means, and read with the tokenizer that these have."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from claas.bench.adapters import PeftFolder, is_adapter_folder, peft_folder
from claas.bench.backends import models_here
from claas.bench.model import (
    SPELLED,
    Model,
    NamedTokenizer,
    Tell,
    adapter_tokenizer,
    base_tokenizer,
    nobody,
    warn_of_cpu,
)
from claas.bench.settings import WIRE, BenchConfig
from claas.bench.wire_lm import WireLM, WireModel, reads_once
from claas.core.checks import served_name
from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.files import read_bytes
from claas.eval.stacks.http_client import HttpClient, Malformed, Refused
from claas.eval.stacks.open_stack import check_stack, open_client
from claas.eval.stacks.stack import ServedBase, require_weights
from claas.results.records import AdapterVersion
from claas.wire.adapters import HealthResponse, LoraImportRequest, LoraList, LoraVersion
from claas.wire.completions import CompletionRequest, CompletionResponse


@asynccontextmanager
async def open_models(config: BenchConfig, tell: Tell = nobody) -> AsyncGenerator[list[Model], None]:
    """The base model and the adapters of `config`; `InvalidInput` where they cannot be asked with its tokenizer."""
    if config.backend != WIRE:
        yield _apart(await asyncio.to_thread(models_here, config, tell))
        return
    check_stack(config.stack())
    await asyncio.to_thread(base_tokenizer, config.read_with)  # what is wrong is said before weights are loaded
    for name in filter(is_adapter_folder, config.adapters):
        peft_folder(name)
    async with open_client(config.stack(), Path(config.store_dir)) as client:
        yield await models_at(client, config, tell)


async def models_at(client: HttpClient, config: BenchConfig, tell: Tell = nobody) -> list[Model]:
    """As `open_models`, of an API that is open already."""
    named = await asyncio.to_thread(base_tokenizer, config.read_with)
    detail = await _told(client)
    window = config.window or detail.get("window")
    if not isinstance(window, int):
        raise InvalidInput(f"{client.base_url} does not say how many tokens its model reads; set window")
    if detail.get("device") == "cpu":
        warn_of_cpu(config.model, tell)
    once = await reads_once(client, config.model, named.tokenizer.encode(SPELLED))
    served = _Served(client, config, window, named, once, tell)
    adapters = map(served.adapter, config.adapters)
    return _apart(await together([served.base(), *adapters] if config.include_base else adapters))


def _apart(models: list[Model]) -> list[Model]:
    """Require that no two of the models are one, by whatever names they were asked for."""
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"two of the adapters are {twice[0]}: name it once")
    return models


@dataclass(frozen=True)
class _Served:
    """What an API serves, as it is to be asked."""

    client: HttpClient
    config: BenchConfig
    window: int
    named: NamedTokenizer
    reads_once: bool
    tell: Tell

    async def base(self) -> Model:
        """The base model."""
        return await self._model(self.config.model, None, self.named)

    async def adapter(self, name: str) -> Model:
        """An adapter of the API, or one that is imported into it from a folder or the hub."""
        if is_adapter_folder(name) or ("/" in name and "@" not in name and not await self._knows(name)):
            adapter = await asyncio.to_thread(peft_folder, name)
            named = self.named
            if self.config.tokenizer is None:
                named = await asyncio.to_thread(adapter_tokenizer, adapter, named)
            return await self._model(await self._imported(adapter), name, named)
        return await self._model(name, name, self.named)

    async def _knows(self, lora_id: str) -> bool:
        return lora_id in (await self.client.get("/v1/lora", LoraList, params={"prefix": lora_id})).loras

    async def _imported(self, adapter: PeftFolder) -> str:
        """The name of the version that an adapter of files is at the API, where it is made unless it is there."""
        base = await self._asked(self.config.model)
        doubt = adapter.doubt(self.config.model, base.system_fingerprint)
        weights = base64.b64encode(await asyncio.to_thread(read_bytes, adapter.weights)).decode()
        body = LoraImportRequest(lora_id=adapter.lora_id, config=adapter.config, weights=weights)
        try:
            made = await self.client.post("/v1/lora/import", body, LoraVersion)
        except Refused as error:
            missing = error.status in (404, 405)
            said = f"{self.client.base_url} imports no adapters" if missing else str(error)
            mend = "" if error.status == 409 else "; or name a version that it has, or set backend=hf"
            raise InvalidInput(f"{adapter.name}: {said}{mend}") from error
        if doubt is not None:
            self.tell(doubt)
        return made.model

    async def _asked(self, name: str) -> CompletionResponse:
        asked = CompletionRequest(model=name, prompt=SPELLED, max_tokens=0, echo=True, logprobs=1, temperature=0.0)
        return await self.client.post("/v1/completions", asked, CompletionResponse)

    async def _model(self, name: str, adapter: str | None, named: NamedTokenizer) -> Model:
        reply = await self._asked(name)
        logprobs = reply.choices[0].logprobs if reply.choices else None
        if logprobs is None:
            raise InvalidInput(
                f"{self.client.base_url} gives no log probabilities of {name}, so nothing can be scored there"
            )
        ours = named.tokenizer.encode(SPELLED)
        if len(logprobs.tokens) != len(ours):
            raise InvalidInput(
                f"{named.name} is not the tokenizer of {name}: it makes {len(ours)} tokens of a text of which "
                f"{self.client.base_url} makes {len(logprobs.tokens)}; set tokenizer to its folder or hub id"
            )
        weights = _weights(name, adapter, reply)
        ends_apart = named.name != self.config.model
        loop = asyncio.get_running_loop()
        served = WireModel(
            self.client, weights, self.window, named.tokenizer, loop, reads_once=self.reads_once, ends_apart=ends_apart
        )
        return Model(
            name=weights.model,
            adapter=adapter and weights.model,
            digest=weights.digest,
            named=named,
            mark=(self.window,),
            lm=lambda: WireLM(served),
        )


def _weights(name: str, adapter: str | None, reply: CompletionResponse) -> AdapterVersion:
    if adapter is None:
        return ServedBase(name=reply.model, digest=reply.system_fingerprint)
    lora_id, _, version = reply.model.partition("@")
    if not version.isdecimal():
        raise InvalidInput(f"{adapter!r} is no adapter: {reply.model} answers under that name")
    weights = AdapterVersion(lora_id=lora_id, version=int(version), digest=reply.system_fingerprint)
    if "@" in name:
        asked, _, number = name.rpartition("@")
        require_weights(weights, f"{served_name(asked)}@{number}", reply.system_fingerprint)
    return weights


async def _told(client: HttpClient) -> dict[str, str | int | float | bool]:
    """What the server says of itself; nothing where it is none of ours."""
    try:
        return (await client.get("/v1/health", HealthResponse)).detail
    except (Refused, Malformed):
        return {}
