"""The models of a run: each name pinned to the weights that it means, and read with the tokenizer that these have."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from claas.bench.settings import BenchConfig
from claas.bench.wire_lm import Tokenizer, WireModel
from claas.core.checks import served_name
from claas.core.concurrency import together
from claas.core.errors import InvalidInput, MissingExtra
from claas.core.settings import EMBEDDED
from claas.core.text import one_line
from claas.eval.stacks.http_client import HttpClient, Malformed, Refused
from claas.eval.stacks.open_stack import check_stack, open_client
from claas.eval.stacks.stack import ServedBase, require_weights
from claas.results.records import AdapterVersion
from claas.tiny import WEIGHTS_DIR
from claas.wire.adapters import HealthResponse
from claas.wire.chat import CompletionRequest, CompletionResponse

_SPELLED = "The 7 quick-brown foxes said: don't."
"""A text that two tokenizers hardly cut alike."""


@dataclass(frozen=True)
class Model:
    """One model of a run; `adapter` is None for the base model."""

    served: WireModel
    adapter: str | None

    @property
    def name(self) -> str:
        """The name by which these very weights are asked."""
        return self.served.weights.model


@asynccontextmanager
async def open_models(config: BenchConfig) -> AsyncGenerator[list[Model], None]:
    """The base model and the adapters of `config`; `InvalidInput` where they cannot be asked with its tokenizer."""
    check_stack(config.stack())
    await asyncio.to_thread(_tokenizer, config)  # what is wrong with it is said before weights are loaded
    async with open_client(config.stack(), Path(config.store_dir)) as client:
        yield await models_at(client, config)


async def models_at(client: HttpClient, config: BenchConfig) -> list[Model]:
    """As `open_models`, of an API that is open already."""
    tokenizer = await asyncio.to_thread(_tokenizer, config)
    window = config.window or await _window(client)
    names = [None] * config.include_base + config.adapters
    models = await together(_model(client, config, name, window, tokenizer) for name in names)
    if await _reads_once(models[0].served):
        return models
    return [replace(model, served=replace(model.served, reads_once=False)) for model in models]


async def _model(
    client: HttpClient, config: BenchConfig, adapter: str | None, window: int, tokenizer: Tokenizer
) -> Model:
    name = adapter or config.model
    asked = CompletionRequest(model=name, prompt=_SPELLED, max_tokens=0, echo=True, logprobs=1, temperature=0.0)
    reply = await client.post("/v1/completions", asked, CompletionResponse)
    logprobs = reply.choices[0].logprobs if reply.choices else None
    if logprobs is None:
        raise InvalidInput(f"{client.base_url} gives no log probabilities of {name}, so nothing can be scored there")
    ours = tokenizer.encode(_SPELLED)
    if len(logprobs.tokens) != len(ours):
        raise InvalidInput(
            f"{tokenizer.name_or_path} is not the tokenizer of {name}: it makes {len(ours)} tokens of a text of which "
            f"{client.base_url} makes {len(logprobs.tokens)}; set tokenizer to its folder or hub id"
        )
    weights = _weights(adapter, reply)
    if adapter is not None and "@" in adapter:
        lora_id, _, number = adapter.rpartition("@")
        require_weights(weights, f"{served_name(lora_id)}@{number}", reply.system_fingerprint)
    served = WireModel(client, weights, window, tokenizer, asyncio.get_running_loop(), reads_once=True)
    return Model(served, adapter and weights.model)


async def _reads_once(served: WireModel) -> bool:
    """Whether the server scores several continuations of a prompt in one request: other APIs, and older ones, do not.

    Found out once, by a request that nothing is wrong with.
    """
    first, *others = served.tokenizer.encode(_SPELLED)
    try:
        await served.score([first], [others])
    except (Refused, Malformed):
        return False
    return True


def _weights(adapter: str | None, reply: CompletionResponse) -> AdapterVersion:
    if adapter is None:
        return ServedBase(name=reply.model, digest=reply.system_fingerprint)
    lora_id, _, version = reply.model.partition("@")
    if not version.isdecimal():
        raise InvalidInput(f"{adapter!r} is no adapter: {reply.model} answers under that name")
    return AdapterVersion(lora_id=lora_id, version=int(version), digest=reply.system_fingerprint)


async def _window(client: HttpClient) -> int:
    detail = (await client.get("/v1/health", HealthResponse)).detail
    window = detail.get("window")
    if not isinstance(window, int):
        raise InvalidInput(f"{client.base_url} does not say how many tokens its model reads; set window")
    return window


def _tokenizer(config: BenchConfig) -> Tokenizer:
    place = config.tokenizer or (str(WEIGHTS_DIR) if config.model == EMBEDDED else config.model)
    try:
        transformers = import_module("transformers")
    except ModuleNotFoundError as error:
        raise MissingExtra("transformers", "local") from error
    try:
        return transformers.AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"there is no tokenizer {place!r} ({one_line(error)}); set tokenizer to its folder or hub id"
        ) from error
