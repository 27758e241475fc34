"""What torch and transformers leave partly untyped, under names whose type is openly `Any`."""

from typing import Any, TypeAlias

import torch
import torch.distributed
import torch.multiprocessing
from transformers import AutoTokenizer, Qwen3ForCausalLM

Model: TypeAlias = Any
"""A `Qwen3ForCausalLM`."""
Tokenizer: TypeAlias = Any
"""A `PreTrainedTokenizerFast`."""

auto_tokenizer: Any = AutoTokenizer
causal_lm: Any = Qwen3ForCausalLM
distributed: Any = torch.distributed
multiprocessing: Any = torch.multiprocessing
random_state: Any = torch.random
