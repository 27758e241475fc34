"""Adapters as somebody else would make them, with PEFT itself."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model


def trained(base: Any, folder: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> Path:
    """An adapter of a model of transformers as PEFT saves it, with weights of its own in both of its matrices."""
    chosen: dict[str, Any] = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"], **settings}
    config = LoraConfig(**chosen)
    model: Any = get_peft_model(copy.deepcopy(base), config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.empty(parameter.shape).normal_(0, 0.1, generator=generator))
    model.to(dtype).save_pretrained(str(folder))
    return folder


def files(folder: Path) -> tuple[dict[str, Any], bytes]:
    """What is imported of a folder."""
    config = json.loads((folder / "adapter_config.json").read_text())
    return config, (folder / "adapter_model.safetensors").read_bytes()
