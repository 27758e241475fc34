"""A LoRA from PEFT's files, by whomever it was trained: what the engine holds of it, or why it cannot."""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from peft import LoraConfig
from pydantic import JsonValue
from safetensors import SafetensorError
from torch import Tensor

from claas.core.errors import InvalidInput
from claas.core.text import one_line
from claas.engines.local.lora import LoraShape, from_bytes, kind_of, parameter_names, to_bytes
from claas.engines.local.model import LoadedModel, linear_layers, matrix_of

_PART = re.compile(r"base_model\.model\.(.+)\.lora_[AB]\.weight")

_READ = {"peft_type", "task_type", "r", "lora_alpha", "use_rslora", "init_lora_weights", "base_model_name_or_path"}
_OF_TRAINING = {"inference_mode", "lora_dropout", "eva_config", "ephemeral_gpu_offload", "runtime_config"}
_OF_NAMES = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
"""Which layers are changed is told by the weights themselves."""
_OF_FILES = {"peft_version", "revision", "auto_mapping", "fan_in_fan_out", "qalora_group_size", "megatron_core"}
_HARMLESS = _READ | _OF_TRAINING | _OF_NAMES | _OF_FILES

_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
"""What `init_lora_weights` may be: every other way to begin changes the base model, too."""


def imported(config: Mapping[str, JsonValue], weights: bytes, base: LoadedModel) -> tuple[LoraShape, bytes]:
    """The shape of an adapter and its safetensors file as we keep it, given its adapter_config.json and its own file.

    Its numbers are PEFT's, which reads half precision into float32. `InvalidInput` names what is no plain LoRA, or
    does not fit `base`.
    """
    _require_plain(config)
    rank, tensors = _whole(config, "r"), _tensors(weights)
    found = {match[1] for match in map(_PART.fullmatch, tensors) if match}
    sizes: dict[str, tuple[int, ...]] = {}
    for layer, module in linear_layers(base.model).items():
        if layer in found:
            out_features, in_features = matrix_of(module)[0].shape
            a_name, b_name = parameter_names(layer)
            sizes |= {a_name: (rank, in_features), b_name: (out_features, rank)}
    if unlike := _unlike(tensors, sizes):
        raise InvalidInput(
            f"refused: trained on {config.get('base_model_name_or_path')!r}, this base is {base.weights.name!r}: "
            f"{unlike}"
        )
    shape = LoraShape(rank, _whole(config, "lora_alpha"), _targets(found, base), config.get("use_rslora") is True)
    return shape, _with_scale(to_bytes({name: tensors[name] for name in sizes}), shape)


def _with_scale(data: bytes, shape: LoraShape) -> bytes:
    """The file with the scale in its header, too: adapters that differ in nothing else are not the same weights."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] |= {"lora_alpha": str(shape.alpha), "use_rslora": str(shape.rslora)}
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written + data[end:]


def _require_plain(config: Mapping[str, JsonValue]) -> None:
    usual = cast(dict[str, Any], LoraConfig().to_dict())
    odd = [key for key, value in config.items() if key not in _HARMLESS and value and value != usual.get(key)]
    if config.get("peft_type") != "LORA":
        odd.append("peft_type")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        odd.append("task_type")
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        odd.append("init_lora_weights")
    if not isinstance(config.get("use_rslora"), bool | None):
        odd.append("use_rslora")
    if odd:
        said = ", ".join(f"{key}={config.get(key)!r:.60}" for key in sorted(odd))
        raise InvalidInput(
            f"refused: only a plain LoRA of a causal language model can be imported, and this one has {said}; merge it "
            "into its base model and serve that"
        )


def _whole(config: Mapping[str, JsonValue], key: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0 or value < 1:
        raise InvalidInput(f"refused: {key} in adapter_config.json must be a whole number above 0, got {value!r:.60}")
    return int(value)


def _tensors(weights: bytes) -> dict[str, Tensor]:
    try:
        tensors = from_bytes(weights)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InvalidInput(f"refused: the weights are no safetensors file: {one_line(error)}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            raise InvalidInput(f"refused: {name} is of {tensor.dtype}, and weights have 16 bits at least")
        if not bool(tensor.isfinite().all()):
            raise InvalidInput(f"refused: {name} holds what is no number")
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}


def _unlike(tensors: Mapping[str, Tensor], sizes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The first thing in which the tensors are not those of `sizes`; None where they are."""
    for name, tensor in sorted(tensors.items()):
        if name not in sizes:
            return f"there is no layer here for {name}"
        if tuple(tensor.shape) != sizes[name]:
            return f"{name} has the size {tuple(tensor.shape)}, and here it would have {sizes[name]}"
    missing = sorted(sizes.keys() - tensors.keys())
    return f"{missing[0]} is missing" if missing else None if sizes else "it changes no layer"


def _targets(found: set[str], base: LoadedModel) -> tuple[str, ...]:
    """The kinds of layers where all of a kind are changed, as they usually are; else each layer by its name."""
    kinds = {kind_of(layer) for layer in found}
    of_kinds = {layer for layer in linear_layers(base.model) if kind_of(layer) in kinds}
    return tuple(sorted(kinds if of_kinds == found else found))
