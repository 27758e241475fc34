"""The tensors of a torch distributed checkpoint (DCP), under the names that transformers has for them."""

import pickle
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor
from torch.distributed import checkpoint
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from claas.bench.convert.sources import stages
from claas.core.errors import InvalidInput
from claas.core.text import one_line

_dcp: Any = checkpoint  # typed in part only
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The model's tensors, put together from all shards; what else a trainer keeps, such as its optimiser, is not read.

    `InvalidInput` where a shard is missing or cut off, or where a tensor is none of a model's.
    """
    tensors: dict[str, Tensor] = {}
    for stage in stages(folder):
        metadata = _metadata(stage)
        _require_shards(stage, metadata)
        names = _model_tensors(metadata)
        part = {key: _empty(name, metadata.state_dict_metadata[key]) for key, name in names.items()}
        with _naming(stage), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that only one process reads, which is meant
            _dcp.load(part, storage_reader=FileSystemReader(stage), no_dist=True)
        tensors |= {name: part[key] for key, name in names.items()}
    if not tensors:
        raise InvalidInput(f"{folder} holds no tensors of a model")
    return tensors


_WRAPPERS = re.compile(r"^module\.|_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")
"""What parallel training and compiling leave in names."""


def _model_tensors(metadata: Metadata) -> dict[str, str]:
    """The keys of the model's tensors, with the names that these have in the model."""
    planned = cast(Mapping[str, Sequence[object]], metadata.planner_data or {})
    paths = {
        key: tuple(map(str, planned.get(key, (key,))))
        for key, stored in metadata.state_dict_metadata.items()
        if isinstance(stored, TensorStorageMetadata)
    }
    inside = {key: path[path.index("model") + 1 :] for key, path in paths.items() if "model" in path[:-1]}
    chosen = inside or {key: path for key, path in paths.items() if not path[0].startswith("optim")}
    return {key: _WRAPPERS.sub("", ".".join(path)) for key, path in chosen.items()}


def _empty(name: str, stored: Any) -> Tensor:
    if stored.properties.dtype not in _FLOATS:
        kinds = ", ".join(dtype_name(dtype) for dtype in _FLOATS)
        raise InvalidInput(f"{name} is of {dtype_name(stored.properties.dtype)}; only {kinds} are converted")
    return torch.empty(stored.size, dtype=stored.properties.dtype)


def dtype_name(dtype: torch.dtype) -> str:
    """As settings and records call it: `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def _metadata(stage: Path) -> Metadata:
    path = stage / ".metadata"
    try:
        with path.open("rb") as file:
            found = _PlainUnpickler(file).load()
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, ValueError, LookupError) as error:
        raise InvalidInput(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(found, Metadata):
        raise InvalidInput(f"{path} is not the metadata of a distributed checkpoint")
    return found


class _PlainUnpickler(pickle.Unpickler):
    """Makes what the metadata of a checkpoint consist of, and nothing else: a pickle can name any code."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name) if module.partition(".")[0] in ("torch", "pathlib") else None
        if isinstance(found, type):
            home = found.__module__
            if home.startswith("torch.distributed.checkpoint.") or found is torch.Size or issubclass(found, PurePath):
                return found
        elif isinstance(found, torch.dtype | torch.layout | torch.memory_format) or name == "_get_layout":
            return found
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of a checkpoint")


def _require_shards(stage: Path, metadata: Metadata) -> None:
    """Every file must be there, and as long as what is said to be in it."""
    ends: dict[str, int] = {}
    for stored in cast(Mapping[Any, Any], metadata.storage_data or {}).values():
        ends[stored.relative_path] = max(ends.get(stored.relative_path, 0), stored.offset + stored.length)
    if missing := [name for name in sorted(ends) if not (stage / name).is_file()]:
        raise InvalidInput(f"{stage} lacks {len(missing)} of {len(ends)} shards: {', '.join(missing[:5])}")
    if cut := [name for name, end in sorted(ends.items()) if (stage / name).stat().st_size < end]:
        raise InvalidInput(f"{stage} is damaged: {', '.join(cut[:5])} end too early; copy them anew")


@contextmanager
def _naming(stage: Path) -> Generator[None, None, None]:
    try:
        yield
    except CheckpointException as error:  # which is no Exception
        cause = next((failure[0] for failure in error.failures.values()), error)
        raise InvalidInput(f"{stage} cannot be read: {one_line(cause)}") from error


_NAMES = {
    r"^(tok_embeddings|token_embedding\.embedding)\.": "model.embed_tokens.",
    r"^(output|output_head\.proj)\.": "lm_head.",
    r"^(norm|layers)\.": r"model.\1.",
    r"\.attention_norm\.": ".input_layernorm.",
    r"\.(ffn_norm|mlp_norm)\.": ".post_attention_layernorm.",
    r"\.attention\.w?([qkvo])(_proj)?\.": r".self_attn.\1_proj.",
    r"\.attention\.": ".self_attn.",
    r"\.feed_forward\.w1\.": ".mlp.gate_proj.",
    r"\.feed_forward\.w2\.": ".mlp.down_proj.",
    r"\.feed_forward\.w3\.": ".mlp.up_proj.",
}
"""From the names that trainers have who write the Llama architecture out themselves to those of transformers."""

_OWN_NAMES = ("tok_embeddings.", "token_embedding.")


def renamed(tensors: Mapping[str, Tensor], config: Any, rotary: str | None) -> dict[str, Tensor]:
    """The tensors as transformers has them: by its names, queries and keys in the order in which it rotates them."""
    if not any(name.startswith(_OWN_NAMES) for name in tensors):
        return dict(tensors)
    if rotary is None:
        raise InvalidInput(
            f"tensors have names of the trainer's own, such as {next(iter(tensors))}, which do not tell how it rotates "
            "queries and keys: set rotary=halves where it does as transformers, rotary=pairs where it takes "
            "neighbouring dimensions together"
        )
    changed = {_named(name): tensor for name, tensor in tensors.items()}
    if rotary == "halves":
        return changed
    head_size: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotated = re.compile(r"\.self_attn\.[qk]_(proj|norm)\.")
    return {name: _in_halves(part, head_size) if rotated.search(name) else part for name, part in changed.items()}


def _named(name: str) -> str:
    for pattern, replacement in _NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def _in_halves(rows: Tensor, head_size: int) -> Tensor:
    """Rows (heads × head_size, ...) whose neighbours are rotated together, as ones whose halves are."""
    pairs: Any = cast(Any, rows).unflatten(0, (-1, head_size // 2, 2))
    return pairs.transpose(1, 2).reshape(rows.shape)
