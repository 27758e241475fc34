"""A LoRA adapter as tensors: made, read and written in PEFT's file format, and prepared for decoding."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load, save
from torch import Tensor, nn

from claas.core.errors import InvalidInput, StackError
from claas.core.text import one_line
from claas.engines.local.linear import LinearOp, ModelWeights, linear_op
from claas.engines.local.model import LoadedModel, linear_layers, matrix_of, named_modules, output_head
from claas.engines.types import AdapterSpec
from claas.training.update import trainable_parameters

_PREFIX = "base_model.model."
_ALPHA = 64


@dataclass(frozen=True)
class LoraShape:
    """What distinguishes one adapter's parameters from another's: rank, alpha and the layers it changes.

    `target_modules` are kinds of layers (`q_proj`) or, where not all of a kind are changed, layers by their names.
    `rslora` scales by the root of the rank.
    """

    rank: int
    alpha: int
    target_modules: tuple[str, ...]
    rslora: bool = False

    @classmethod
    def of(cls, spec: AdapterSpec, base: LoadedModel) -> "LoraShape":
        """The shape that `spec` asks for on `base`; raises `InvalidInput` naming unknown target modules."""
        known = sorted({kind_of(name) for name in linear_layers(base.model)})
        alpha = _ALPHA if spec.alpha is None else spec.alpha
        if spec.target_modules is None:
            return _without_experts(cls(spec.rank, alpha, tuple(known)), base)
        targets = sorted(set(spec.target_modules))
        if unknown := sorted(set(targets) - set(known)):
            raise InvalidInput(f"unknown target_modules {', '.join(unknown)}; known: {', '.join(known)}")
        if not targets:
            raise InvalidInput("target_modules must name at least one kind of layer")
        return cls(spec.rank, alpha, tuple(targets))

    @property
    def scale(self) -> float:
        """What B A is multiplied with."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def layers(self, model: nn.Module) -> dict[str, nn.Module]:
        """The layers of `model` that the adapter changes."""
        return {name: layer for name, layer in linear_layers(model).items() if self.targets(name)}

    def targets(self, name: str) -> bool:
        """Whether the adapter changes the layer called so."""
        return kind_of(name) in self.target_modules or name in self.target_modules


def new_tensors(shape: LoraShape, model: nn.Module, seed: int) -> dict[str, Tensor]:
    """A fresh adapter under PEFT's names: A uniform as PEFT draws it but decided by `seed`, B zero."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, layer in shape.layers(model).items():
        out_features, in_features = matrix_of(layer)[0].shape
        bound = 1 / math.sqrt(in_features)
        a_name, b_name = parameter_names(name)
        tensors[a_name] = torch.empty(shape.rank, in_features).uniform_(-bound, bound, generator=generator)
        tensors[b_name] = torch.zeros(out_features, shape.rank)
    return tensors


def nonzero_tensors(shape: LoraShape, model: nn.Module) -> dict[str, Tensor]:
    """A new adapter's tensors, but with a B that is not zero: an adapter that changes answers, to check with."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: tensor if tensor.any() else torch.empty_like(tensor).normal_(std=0.02, generator=generator)
        for name, tensor in new_tensors(shape, model, 0).items()
    }


def wrap(base: LoadedModel, shape: LoraShape) -> PeftModel:
    """`base` with an adapter of `shape` that takes gradients; its values are still to be set.

    Raises `InvalidInput` where PEFT adapts other layers than the linear ones that have these names.
    """
    model = _wrapped(base, shape)
    if odd := _odd(model, shape, base):
        raise InvalidInput(
            f"{base.weights.name} cannot be adapted at {', '.join(odd)}: PEFT takes that for the name of other layers, "
            "such as experts; choose target_modules without"
        )
    return model


def _without_experts(shape: LoraShape, base: LoadedModel) -> LoraShape:
    """`shape` without the names under which PEFT adapts experts, which are no linear layers, in their place."""
    if not any("expert" in name for name, _ in named_modules(base.model)):
        return shape
    odd = _odd(_wrapped(base, shape), shape, base)
    return replace(shape, target_modules=tuple(name for name in shape.target_modules if name not in odd))


def _wrapped(base: LoadedModel, shape: LoraShape) -> PeftModel:
    untyped: Any = base.share()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names that stay as they are
            return get_peft_model(untyped, _config(shape, base.model))
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{base.weights.name} cannot be adapted at {', '.join(shape.target_modules)}: {one_line(error)}"
        ) from error


def _odd(model: PeftModel, shape: LoraShape, base: LoadedModel) -> list[str]:
    """Which of the shape's names PEFT has understood otherwise."""
    wanted = {name for layer in shape.layers(base.model) for name in parameter_names(layer)}
    made = {file_name(name) for name, _ in trainable_parameters(model)}
    missing = {kind_of(name.rpartition(".lora_")[0]) for name in wanted - made}
    return sorted(missing) if missing or made == wanted else list(shape.target_modules)


@torch.no_grad()
def load_adapter(model: PeftModel, tensors: Mapping[str, Tensor]) -> None:
    """Set the adapter's parameters. Raises `StackError` where names or shapes do not fit."""
    parameters = {file_name(name): parameter for name, parameter in trainable_parameters(model)}
    fits = parameters.keys() == tensors.keys()
    if not fits or any(parameters[name].shape != tensor.shape for name, tensor in tensors.items()):
        raise StackError("the stored adapter does not fit the base model: its layers or their sizes differ")
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])


def file_name(parameter: str) -> str:
    """A parameter's name in PEFT's files, which leave out the name that the adapter has in memory."""
    return parameter.replace(".default.weight", ".weight")


def parameter_names(layer: str) -> tuple[str, str]:
    """What PEFT calls the adapter's A (rank, in) and B (out, rank) of a layer."""
    return f"{_PREFIX}{layer}.lora_A.weight", f"{_PREFIX}{layer}.lora_B.weight"


def kind_of(layer: str) -> str:
    """The last part of a layer's name, which is that of all its kind."""
    return layer.rpartition(".")[2]


def config_json(shape: LoraShape, base: LoadedModel) -> bytes:
    """adapter_config.json, the same bytes for the same adapter."""
    config = cast(dict[str, Any], _config(shape, base.model).to_dict())
    config |= {"base_model_name_or_path": base.weights.base_model, "inference_mode": True}
    return json.dumps(config, default=sorted, indent=2, sort_keys=True).encode()  # sets become sorted lists


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file; the same tensors give the same bytes."""
    return save(dict(tensors), metadata={"format": "pt"})


def from_bytes(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in CPU memory."""
    return load(data)


def base_weights(base: LoadedModel) -> ModelWeights:
    """The base model itself."""
    layers = linear_layers(base.model)
    ops = {name: linear_op(*matrix_of(layer), pack=base.packed) for name, layer in layers.items()}
    return ModelWeights(ops=ops, deltas={})


def head_of(base: LoadedModel) -> LinearOp:
    """The output head, which no adapter changes."""
    return linear_op(*matrix_of(output_head(base.model)), pack=base.packed)


def prepared(shape: LoraShape, tensors: Mapping[str, Tensor], base: LoadedModel, weights: ModelWeights) -> ModelWeights:
    """The adapter on top of `weights`, the base model's: merged into copies of the layers, or what it adds to them."""
    layers = shape.layers(base.model)
    pairs = {name: (tensors[parameter_names(name)[0]], tensors[parameter_names(name)[1]]) for name in layers}
    if not any(bool(b.any()) for _, b in pairs.values()):
        return weights
    if not base.small:
        deltas = {name: _delta(layers[name], a, shape.scale * b, base.packed) for name, (a, b) in pairs.items()}
        return ModelWeights(ops=weights.ops, deltas=deltas)
    merged = {name: _merged(layers[name], a, b, shape.scale, base.packed) for name, (a, b) in pairs.items()}
    return ModelWeights(ops={**weights.ops, **merged}, deltas={})


@torch.no_grad()
def _merged(layer: nn.Module, a: Tensor, b: Tensor, scale: float, pack: bool) -> LinearOp:
    weight, bias = matrix_of(layer)
    return linear_op(weight + scale * (b @ a), bias, pack=pack)


@torch.no_grad()
def _delta(layer: nn.Module, a: Tensor, b: Tensor, pack: bool) -> LinearOp:
    weight, _ = matrix_of(layer)
    down, up = (linear_op(each.to(weight.device, weight.dtype), None, pack=pack) for each in (a, b))

    def add(x: Tensor) -> Tensor:
        return up(down(x))

    return add


def _config(shape: LoraShape, model: nn.Module) -> LoraConfig:
    return LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        target_modules=_targets(shape, model),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        use_rslora=shape.rslora,
    )


def _targets(shape: LoraShape, model: nn.Module) -> list[str]:
    """The kinds of layers, as adapters usually name them; all layers by name where others are called the same."""
    layers = shape.layers(model)
    called = {name for name, _ in named_modules(model) if shape.targets(name)}
    return list(shape.target_modules) if called == layers.keys() else list(layers)
