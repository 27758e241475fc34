"""Whether the engine computes what the model itself computes: tried on a few rows before anything is served."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor, nn

from claas.core.errors import InvalidInput, StackError
from claas.core.files import write_atomically
from claas.core.text import one_line
from claas.engines.local.decode import DecodeJob, Decoder
from claas.engines.local.linear import ModelWeights
from claas.engines.local.llama import forwards_of
from claas.engines.local.lora import LoraShape, base_weights, load_adapter, nonzero_tensors, prepared, wrap
from claas.engines.local.model import LoadedModel
from claas.engines.types import AdapterSpec, SamplingParams
from claas.engines.versioned import MOST_TOP_LOGPROBS
from claas.training.batch import pad, response_logits

_SHORT = (5, 37)
"""Lengths of prompts, in tokens, that every model is tried with."""
_SAMPLED = 6
"""Tokens of each answer."""
_CROSSED = ("window", "chunk", "original_max")
"""Parts of the names of settings that hold a length at which something changes."""
_JUST_BELOW = 3
"""Tokens short of such a length: within the answer, it is crossed."""
_FEWEST = 8
"""Tokens: a shorter length is none of these, and at least so far beyond one is tried."""
_WHOLE = 64
"""Tokens of the longest prompt that is compared by one plain pass over all of it."""
_MOST_WORK = 2e12
"""Parameters times tokens of the rows about a length: a minute or so on a CPU."""
_ROUNDING, _HALF_ROUNDING = 0.005, 0.3
"""Nats that a row's mean gap may be, in float32 and in half precision."""
_REMEDY = "python -m claas.api check_model=false serves it all the same"


def checked_once(base: LoadedModel, memory: Path) -> str:
    """Check `base`, once for each version of the model and of what computes it: `memory` has the last one that passed.

    Returns what health says about it. Raises as `require_same` does.
    """
    key = _key(base)
    with suppress(OSError, ValueError, KeyError, TypeError):
        passed: Mapping[str, str] = json.loads(memory.read_bytes())
        return passed[key]
    result = require_same(base)
    write_atomically(memory, json.dumps({key: result}))
    return result


def require_same(base: LoadedModel) -> str:
    """Compare the engine's log probabilities with those of the model's own forward pass; say how far it was compared.

    Rows of different lengths are decoded together, from prompts and step by step. Some cross the lengths at which the
    configuration says that something changes; the short ones are decoded with a fresh adapter, too, and compared with
    PEFT. Raises `InvalidInput` that names the model and the gap where a row's mean gap is beyond rounding.
    """
    name = base.weights.name
    try:
        weights = base_weights(base)
        rows = _rows(base, weights)
        with torch.inference_mode():
            _decode(base, weights, [row.job for row in rows])
            gaps = [_gap(row.job, logits) for row, logits in zip(rows, _own_logits(base, rows), strict=True)]
    except InvalidInput:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise StackError(f"base model {name!r} leaves too little memory to compute with: {error}") from error
    except Exception as error:  # the model's code is another's
        said = f"{type(error).__name__}: {one_line(error)}"
        raise InvalidInput(f"base model {name!r} cannot be computed by this engine: {said}") from error
    bound = _ROUNDING if base.dtype == torch.float32 else _HALF_ROUNDING
    for row, gap in zip(rows, gaps, strict=True):
        if not gap <= bound:  # nor is what is not a number
            raise InvalidInput(
                f"base model {name!r} is computed wrongly by this engine: its log probabilities are {gap:.2g} nats "
                f"from the model's own {row.what}; {_REMEDY}"
            )
    left_out = [length for length in _crossed(base) if not _affordable(base, length)]
    passed = f"passed, not tried beyond {left_out[0]} tokens" if left_out else "passed"
    return f"{passed}; {_loss_of_precision(base, rows)}" if base.packed and base.dtype != torch.float32 else passed


@torch.inference_mode()
def _loss_of_precision(base: LoadedModel, rows: Sequence["_Row"]) -> str:
    """How far log probabilities are from those that the model has in float32."""
    exact = LoadedModel.load(base.weights.base_model, dtype="float32")
    gaps = [_gap(row.job, _whole(exact, row.job)) for row in rows if row.model is base.model]
    return f"log probabilities are {fmean(gaps):.2g} nats from those in float32"


@dataclass(frozen=True)
class _Row:
    """One row: what it is, who else can say its log probabilities, and the engine's job."""

    what: str
    model: nn.Module
    job: DecodeJob


def _rows(base: LoadedModel, weights: ModelWeights) -> list[_Row]:
    shape = LoraShape.of(AdapterSpec("check"), base)
    tensors = nonzero_tensors(shape, base.model)
    with_adapter = prepared(shape, tensors, base, weights)
    adapted = wrap(base, shape)
    load_adapter(adapted, tensors)
    crossed = [length for length in _crossed(base) if _affordable(base, length)]
    beyond = {reach for length in crossed for reach in (length - _JUST_BELOW, length + max(_FEWEST, length // 4))}
    lengths = sorted({min(length, base.window - _SAMPLED) for length in (*_SHORT, *beyond)})
    return [
        *(_Row(f"with a prompt of {length} tokens", base.model, _job(base, length, weights)) for length in lengths),
        *(_Row("with an adapter", adapted, _job(base, length, with_adapter)) for length in lengths[: len(_SHORT)]),
    ]


def _job(base: LoadedModel, length: int, weights: ModelWeights) -> DecodeJob:
    """A prompt of any tokens, continued at random, so that unlikely tokens are compared as well as likely ones."""
    draw = random.Random(length)
    prompt = [draw.randrange(base.config.vocab_size) for _ in range(length)]
    params = SamplingParams(_SAMPLED, temperature=1.0, seed=length, top_logprobs=MOST_TOP_LOGPROBS)
    return DecodeJob(prompt, weights, params)


def _decode(base: LoadedModel, weights: ModelWeights, jobs: Sequence[DecodeJob]) -> None:
    (forward,) = forwards_of(base, weights, 1)
    opening = max((job.prompt_ids for job in jobs if len(job.prompt_ids) <= _WHOLE), key=len)  # some read in two parts
    decoder = Decoder(forward, base.device, frozenset(), base.chat.text, opening)
    decoder.admit(jobs)
    while decoder.rows:
        decoder.step()


def _gap(job: DecodeJob, own: Tensor) -> float:
    """The mean distance, in nats, of the log probabilities of the tokens and of their likeliest alternatives.

    `own` are the model's logits (T, V) at the T tokens.
    """
    told = torch.tensor([[one, *top] for one, top in zip(job.logprobs, job.top_logprobs, strict=True)])
    ids = torch.tensor([[one, *top] for one, top in zip(job.token_ids, job.top_ids, strict=True)])
    return (told - own.float().log_softmax(-1).cpu().gather(-1, ids)).abs().mean().item()


def _own_logits(base: LoadedModel, rows: Sequence[_Row]) -> list[Tensor]:
    """Each row's logits (T, V): of the base model alone, of the one with an adapter together, as updates run them."""
    plain = [row.job for row in rows if row.model is base.model]
    adapted = [row for row in rows if row.model is not base.model]
    alone = [_whole(base, job) if len(job.prompt_ids) <= _WHOLE else _answers(base, base.model, [job]) for job in plain]
    together = _answers(base, adapted[0].model, [row.job for row in adapted])
    return [*alone, *together.unflatten(0, (-1, _SAMPLED))]


def _whole(base: LoadedModel, job: DecodeJob) -> Tensor:
    """The logits of a row's answer, of all those that one plain pass gives."""
    model: Any = base.model
    ids = torch.tensor([[*job.prompt_ids, *job.token_ids[:-1]]], device=base.device)
    return model(input_ids=ids, use_cache=False).logits[0, len(job.prompt_ids) - 1 :]


def _answers(base: LoadedModel, model: nn.Module, jobs: Sequence[DecodeJob]) -> Tensor:
    """The logits of the answers of padded rows, row by row."""
    return response_logits(model, pad([(job.prompt_ids, job.token_ids) for job in jobs], base.device))


def _crossed(base: LoadedModel) -> list[int]:
    """The lengths below the window at which the configuration says that something changes."""
    named = _numbers(base.config.to_dict())
    return sorted({length for length in named if _FEWEST <= length < base.window})


def _numbers(setting: Any, counts: bool = False) -> set[int]:
    """The whole numbers in a setting that its name, or that of a setting around it, says are such lengths."""
    if isinstance(setting, dict):
        named = cast(dict[object, Any], setting).items()
        parts = [_numbers(each, counts or any(word in str(name) for word in _CROSSED)) for name, each in named]
    elif isinstance(setting, list | tuple):
        parts = [_numbers(each, counts) for each in cast(Sequence[Any], setting)]
    else:
        return {setting} if counts and type(setting) is int else set()
    return {length for part in parts for length in part}


def _affordable(base: LoadedModel, length: int) -> bool:
    """Whether rows beyond `length` are computed in about a minute: on a GPU any, on a CPU not those of large models."""
    size = sum(parameter.numel() for parameter in base.model.parameters())
    return base.device.type == "cuda" or 5 * length * size <= _MOST_WORK


def _key(base: LoadedModel) -> str:
    """What a check depends on: the weights, where they are, and the versions of all that computes with them."""
    digest = hashlib.sha256(
        f"{base.weights.digest} {base.device.type} {base.dtype} {base.small} {base.packed}".encode()
    )
    for package in ("torch", "transformers", "peft"):
        digest.update(f"{package} {version(package)} ".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
