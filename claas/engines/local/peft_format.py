"""An adapter in PEFT's terms: its configuration file, and a model wrapped to train it."""

import json
import warnings
from typing import Any, cast

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from claas.engines.local.lora import LoraShape


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


def _config(shape: LoraShape) -> LoraConfig:
    return LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        target_modules=list(shape.target_modules),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
