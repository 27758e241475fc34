"""Loading the base model, once."""

import copy
import hashlib
import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from claas.core.errors import InvalidInput
from claas.core.settings import EMBEDDED
from claas.core.text import one_line
from claas.engines.local.memory import ModelSizes, free_memory, require_memory, told_memory
from claas.engines.text import ChatFormat
from claas.engines.types import Weights
from claas.models.sources import model_source

STRIDE = 16
"""Lengths of attention are multiples of this: the CPU kernels then give the same bits whatever the padding."""

_log = logging.getLogger(__name__)
_SMALL_BYTES = 2**28
_PACKED_BYTES = 2**31
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class LoadedModel:
    """A loaded base model. Its parameters are frozen and shared by every copy that `share` makes.

    `source` says where the weights are from, `window` is the most tokens of prompt and answer together. On a CPU,
    `packed` models are multiplied from a second copy of the weights, on one thread at a time: faster than on more, and
    the same bits in every batch. `small` ones, in float32, are decoded with adapters merged into copies of their own.
    """

    weights: Weights
    source: str
    model: nn.Module
    chat: ChatFormat
    window: int
    small: bool
    packed: bool

    @classmethod
    def load(cls, name: str, today: date | None = None, dtype: str | None = None) -> "LoadedModel":
        """What `claas.models.sources` knows. Raises `InvalidInput` saying what is wrong with anything else.

        `today` is what chat templates are told, for as long as the model is loaded; None: the day it is. `dtype` is
        float32 or bfloat16; None: bfloat16 on a GPU.
        """
        source = model_source(name)
        directory = source.directory
        model = _model(name, directory, dtype)
        config: Any = model.config.get_text_config()
        _require_decodable(name, model, config)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        generation: Any = model.generation_config
        stops = generation.eos_token_id if generation else config.eos_token_id
        size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        first = next(model.parameters())
        cpu = first.device.type == "cpu"
        packed = cpu and size <= _PACKED_BYTES
        if packed:
            torch.set_num_threads(1)
        return cls(
            weights=Weights(None, 0, _digest(name, directory), name),
            source=source.told,
            model=model,
            chat=ChatFormat.load(str(directory), name, stops, today),
            window=_window(name, config),
            small=cpu and size <= _SMALL_BYTES and first.dtype == torch.float32,
            packed=packed,
        )

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.model.parameters()).dtype

    @property
    def config(self) -> Any:
        """The Hugging Face configuration of the part that reads and writes text, untyped there."""
        model: Any = self.model
        return model.config.get_text_config()

    def share(self) -> nn.Module:
        """Another module tree over the same parameters, to be modified and run in a thread of its own."""
        memo: dict[int, Any] = {id(tensor): tensor for tensor in self.model.parameters()}
        memo |= {id(tensor): tensor for tensor in self.model.buffers()}
        return copy.deepcopy(self.model, memo)


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers an adapter can change, by name: every linear one that text passes through, but the output head."""
    head = output_head(model)
    untyped: Any = model
    text: nn.Module = model if untyped.config.get_text_config() is untyped.config else untyped.get_decoder()
    within = next(name for name, module in named_modules(model) if module is text)
    return {name: module for name, module in named_modules(text, within) if _is_linear(module) and module is not head}


def _is_linear(module: nn.Module) -> bool:
    """Whether a layer is just a linear layer; subclasses may do more, as routers do."""
    return type(module) in (nn.Linear, Conv1D) or type(module).__name__ == "FalconLinear"


def named_modules(model: nn.Module, prefix: str = "") -> Iterable[tuple[str, nn.Module]]:
    """All modules with their names, which are loosely typed in torch."""
    return cast(Iterable[tuple[str, nn.Module]], model.named_modules(prefix=prefix))


def output_head(model: nn.Module) -> nn.Module:
    """The layer that maps hidden states to logits."""
    return cast(Any, model).get_output_embeddings()


def matrix_of(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """A linear layer's weight as (out, in), and its bias."""
    weight = cast(Tensor, layer.weight)
    return (weight.T if isinstance(layer, Conv1D) else weight), cast("Tensor | None", layer.bias)


def _model(name: str, directory: Path, dtype: str | None) -> Any:
    cuda = torch.cuda.is_available() and name != EMBEDDED
    transformers_logging.disable_progress_bar()
    configured: Any = AutoConfig
    with _naming(name):
        config = configured.from_pretrained(str(directory), trust_remote_code=False)
    half = cuda if dtype is None else dtype == "bfloat16"
    if half and not cuda and not multiplies_bfloat16():
        raise InvalidInput("dtype=bfloat16 needs a GPU, or a CPU with AVX-512 BF16 or AMX: leave it away")
    _require_memory(name, directory, config, cuda=cuda, width=2 if half else 4)
    with _naming(name):
        model: Any = _loader(config).from_pretrained(
            str(directory),
            dtype=torch.bfloat16 if half else torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
        )
    return model.to("cuda" if cuda else "cpu").eval()


@contextmanager
def _naming(name: str) -> Generator[None, None, None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"base model {name!r} cannot be loaded as a causal language model: {one_line(error)}"
        ) from error


def multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it."""
    said: Any = torch.cpu
    return said._is_avx512_bf16_supported() or said._is_amx_tile_supported()


def _require_memory(name: str, directory: Path, config: Any, *, cuda: bool, width: int) -> None:
    """Print the memory that will be needed; `InvalidInput` if there is not enough."""
    packed = 0 if cuda else _PACKED_BYTES
    small = _SMALL_BYTES if packed and width == 4 else 0
    sizes = ModelSizes.of(directory, config.get_text_config(), width, small, packed)
    free = torch.cuda.mem_get_info()[0] if cuda else free_memory()
    if sizes is None or free is None or name == EMBEDDED:
        return
    _log.warning("%s takes %s", name, told_memory(require_memory(name, sizes, free), free))


def _loader(config: Any) -> Any:
    """The class that loads the model; for a vision-language model, the whole of it if there is no text-only class."""
    text: Any = AutoModelForCausalLM
    sees: Any = AutoModelForImageTextToText
    return sees if type(config) in sees._model_mapping and type(config) not in text._model_mapping else text


def _window(name: str, config: Any) -> int:
    """The most tokens of a row: up to where positions are the same whatever the row's length, as all of it needs.

    With LongRoPE other factors apply to a row, its beginning included, as soon as it is longer than the model was first
    trained for; the local layers of GPT-Neo read their window off the padded length. The window is also a multiple of
    what attention is padded to.
    """
    ropes: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
    bounds = [int(config.max_position_embeddings)]
    of_kinds = [cast(Mapping[str, Any], each) for each in ropes.values() if isinstance(each, Mapping)]
    for rope in (ropes, *of_kinds):
        if rope.get("rope_type") == "longrope":
            original = rope.get("original_max_position_embeddings")
            bounds.append(int(original or config.original_max_position_embeddings))
    if config.model_type == "gpt_neo" and "local" in config.attention_layers:
        bounds.append(int(config.window_size))
    window = min(bounds) // STRIDE * STRIDE
    if not window:
        raise InvalidInput(f"base model {name!r} can be computed rightly up to {min(bounds)} tokens only")
    if min(bounds) < bounds[0]:
        _log.warning("base model %r is served up to %d of its %d tokens: see docs/usage.md", name, window, bounds[0])
    return window


def _require_decodable(name: str, model: nn.Module, config: Any) -> None:
    """Refuse what the decoder's slots cannot hold (other state than keys and values) and what mixes its rows."""
    layer_types: Sequence[str] = getattr(config, "layer_types", None) or ()
    if unknown := sorted(set(layer_types) - _KNOWN_LAYERS):
        raise InvalidInput(f"base model {name!r} has layers that this engine cannot decode: {', '.join(unknown)}")
    if any(".experts." in layer for layer in linear_layers(model)):
        raise InvalidInput(f"base model {name!r} has experts as separate layers, which this engine cannot decode")
    if not isinstance(getattr(config, "max_position_embeddings", None), int):
        raise InvalidInput(f"base model {name!r} does not say how many positions it has")


def _digest(name: str, directory: Path) -> str:
    """sha256 over the model's name and its weight files."""
    digest = hashlib.sha256(name.encode())
    for path in sorted(directory.glob("*.safetensors")):
        digest.update(_file_digest(path).encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    """sha256 of a file, which the hub's download cache already has in the name of what it links to."""
    blob = path.resolve()
    if blob.parent.name == "blobs" and len(blob.name) == 64:
        return blob.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
