"""A LoRA adapter as tensors: made, read and written in PEFT's file format, and prepared for decoding."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load, save
from torch import Tensor, nn

from claas.core.errors import InvalidInput
from claas.engines.base import AdapterSpec
from claas.engines.local.linear import LinearOp, ModelWeights, linear, linear_op
from claas.engines.local.model import linear_layers, matrix_of

_PREFIX = "base_model.model."
_ALPHA = 64


@dataclass(frozen=True)
class LoraShape:
    """What distinguishes one adapter's parameters from another's: rank, alpha and the names of its layers' modules."""

    rank: int
    alpha: int
    target_modules: tuple[str, ...]

    @classmethod
    def of(cls, spec: AdapterSpec, model: nn.Module) -> "LoraShape":
        """The shape that `spec` asks for on `model`; raises `InvalidInput` naming unknown target modules."""
        known = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
        targets = known if spec.target_modules is None else sorted(set(spec.target_modules))
        if unknown := sorted(set(targets) - set(known)):
            raise InvalidInput(f"unknown target_modules {', '.join(unknown)}; known: {', '.join(known)}")
        if not targets:
            raise InvalidInput("target_modules must name at least one kind of layer")
        return cls(spec.rank, _ALPHA if spec.alpha is None else spec.alpha, tuple(targets))

    @property
    def scale(self) -> float:
        """What B A is multiplied with."""
        return self.alpha / self.rank

    def layers(self, model: nn.Module) -> dict[str, nn.Module]:
        """The layers of `model` that the adapter changes."""
        return {
            name: layer
            for name, layer in linear_layers(model).items()
            if name.rpartition(".")[2] in self.target_modules
        }


def new_tensors(shape: LoraShape, model: nn.Module, seed: int) -> dict[str, Tensor]:
    """A fresh adapter under PEFT's names: A uniform as PEFT draws it but decided by `seed`, B zero."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, layer in shape.layers(model).items():
        out_features, in_features = matrix_of(layer)[0].shape
        bound = 1 / math.sqrt(in_features)
        a_name, b_name = _names(name)
        tensors[a_name] = torch.empty(shape.rank, in_features).uniform_(-bound, bound, generator=generator)
        tensors[b_name] = torch.zeros(out_features, shape.rank)
    return tensors


def wrap(model: nn.Module, shape: LoraShape) -> PeftModel:
    """`model` with an adapter of `shape` that takes gradients; its values are still to be set."""
    untyped: Any = model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that stay as they are
        return get_peft_model(untyped, _config(shape))


def config_json(shape: LoraShape, base_model: str) -> bytes:
    """adapter_config.json, the same bytes for the same adapter."""
    config = cast(dict[str, Any], _config(shape).to_dict())
    config |= {"base_model_name_or_path": base_model, "inference_mode": True}
    return json.dumps(config, default=sorted, indent=2, sort_keys=True).encode()  # sets become sorted lists


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file; the same tensors give the same bytes."""
    return save(dict(tensors), metadata={"format": "pt"})


def from_bytes(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in CPU memory."""
    return load(data)


def base_weights(model: nn.Module, *, pack: bool) -> ModelWeights:
    """The base model itself."""
    ops = {name: linear_op(*matrix_of(layer), pack=pack) for name, layer in linear_layers(model).items()}
    return ModelWeights(ops=ops, deltas={})


def prepared(
    shape: LoraShape, tensors: Mapping[str, Tensor], model: nn.Module, base: ModelWeights, *, merge: bool
) -> ModelWeights:
    """The adapter on top of `base`: merged into copies of the layers it changes, or as what it adds to them."""
    layers = shape.layers(model)
    pairs = {name: (tensors[_names(name)[0]], tensors[_names(name)[1]]) for name in layers}
    if not any(bool(b.any()) for _, b in pairs.values()):
        return base
    if not merge:
        deltas = {name: _delta(layers[name], a, b, shape.scale) for name, (a, b) in pairs.items()}
        return ModelWeights(ops=base.ops, deltas=deltas)
    merged = {name: _merged(layers[name], a, b, shape.scale) for name, (a, b) in pairs.items()}
    return ModelWeights(ops={**base.ops, **merged}, deltas={})


@torch.no_grad()
def _merged(layer: nn.Module, a: Tensor, b: Tensor, scale: float) -> LinearOp:
    weight, bias = matrix_of(layer)
    return linear_op(weight + scale * (b @ a), bias, pack=True)


@torch.no_grad()
def _delta(layer: nn.Module, a: Tensor, b: Tensor, scale: float) -> LinearOp:
    weight, _ = matrix_of(layer)
    down = a.to(weight.device, weight.dtype)
    up = (scale * b).to(weight.device, weight.dtype)

    def add(x: Tensor) -> Tensor:
        return linear(linear(x, down), up)

    return add


def _names(layer: str) -> tuple[str, str]:
    """What PEFT calls the adapter's A (rank, in) and B (out, rank) of a layer."""
    return f"{_PREFIX}{layer}.lora_A.weight", f"{_PREFIX}{layer}.lora_B.weight"


def _config(shape: LoraShape) -> LoraConfig:
    return LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        target_modules=list(shape.target_modules),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
