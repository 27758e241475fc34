"""Whether a vLLM server computes what the learner's own model computes, without an adapter and with one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from claas.core.concurrency import together
from claas.core.errors import BadRequest, InvalidInput
from claas.engines.local.lora import LoraShape, load_adapter, nonzero_tensors, wrap
from claas.engines.local.model import LoadedModel
from claas.engines.types import AdapterSpec, SamplingParams, Weights
from claas.engines.versioned import MOST_TOP_LOGPROBS, ScoredIds
from claas.engines.vllm.adapters import LoadedAdapters, adapter_files, zeros
from claas.engines.vllm.client import VllmClient

_RANK, _ALPHA = 4, 256
"""Of the adapter that is tried: as much as can be, so that a kind of layer that the server leaves out shows."""

_PROMPTS = (5, 37)
_SAMPLED = 6
_TEMPERATURE = 0.5
_BOUND = 0.3
"""Nats that a row's mean gap may be, as the server may compute in half precision."""


@dataclass(frozen=True)
class _Row:
    """One row: what it is, its weights at the server, the model that they are here, and the prompt's length."""

    what: str
    weights: Weights
    model: nn.Module
    length: int


async def largest_gap(base: LoadedModel, client: VllmClient, root: Path) -> float:
    """How far the server's log probabilities are from the model's own, in nats: the mean of the worst row.

    All rows are asked at once, so that those with an adapter and those without share batches. Raises `InvalidInput`
    where the gap is beyond rounding.
    """
    shape = LoraShape.of(AdapterSpec("check", _RANK, _ALPHA), base)
    tensors = nonzero_tensors(shape, base.model)
    adapted = wrap(base, shape)
    load_adapter(adapted, tensors)
    probe = Weights("check", 0, "", base.weights.base_model)
    files = {base.weights: zeros(base), probe: adapter_files(shape, tensors, base)}
    adapters = LoadedAdapters(client, root, 1, files.__getitem__)
    rows = [
        _Row(f"{what} and a prompt of {length} tokens", weights, model, length)
        for what, weights, model in (("no adapter", base.weights, base.model), ("an adapter", probe, adapted))
        for length in _PROMPTS
    ]
    try:
        gaps = await together(_gap(base, client, adapters, row) for row in rows)
    except BadRequest as error:
        raise InvalidInput(f"the vLLM at {client.url} cannot be asked as {base.weights.name!r}: {error}") from error
    await adapters.clear()
    worst, row = max(zip(gaps, rows, strict=True), key=lambda pair: pair[0])
    if not worst <= _BOUND:  # nor is what is not a number
        served = (await client.models())[0]
        raise InvalidInput(
            f"the vLLM at {client.url} serves other weights than {base.weights.name!r}, or computes otherwise: with "
            f"{row.what}, its log probabilities are {worst:.2g} nats from the model's own; it serves {served.name!r} "
            f"from {served.root!r}"
        )
    return worst


async def _gap(base: LoadedModel, client: VllmClient, adapters: LoadedAdapters, row: _Row) -> float:
    """The mean distance of what the server says of tokens that it read, and of those that it sampled, from our own."""
    draw = random.Random(row.length)
    prompt = [draw.randrange(base.config.vocab_size) for _ in range(row.length)]
    params = SamplingParams(_SAMPLED, _TEMPERATURE, seed=row.length, top_logprobs=MOST_TOP_LOGPROBS)
    async with adapters.using(row.weights) as name:
        sampled = await client.sample(name, prompt, params, [])
        ids = [*prompt, *sampled.token_ids]
        read = await client.logprobs(name, ids, MOST_TOP_LOGPROBS)
    own = _own(row.model, ids, base.device)
    of_read = _distances(own, ids[1:], read)
    of_sampled = _distances(own[row.length - 1 :], sampled.token_ids, sampled.scores)
    return torch.cat([of_read, of_sampled]).mean().item()


def _own(model: Any, ids: Sequence[int], device: torch.device) -> Tensor:
    """The model's own log probabilities of every token after each of `ids` but the last (T - 1, V)."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids[:-1]], device=device), use_cache=False).logits[0]
        return logits.float().log_softmax(-1).cpu()


def _distances(own: Tensor, ids: Sequence[int], told: ScoredIds) -> Tensor:
    """How far what was told of each token and of its likeliest alternatives is from `own` (T, V)."""
    asked = torch.tensor([[one, *top] for one, top in zip(ids, told.top_ids, strict=True)])
    said = torch.tensor([[one, *top] for one, top in zip(told.logprobs, told.top_logprobs, strict=True)])
    return (said - own.gather(-1, asked)).abs().flatten()
