"""The memory that a base model takes to serve and to train, estimated before it is loaded."""

import ctypes
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from claas.core.errors import InvalidInput
from claas.engines.types import AdapterSpec
from claas.training.update import MAX_LOGITS, MAX_LOGITS_OF_GPU

_PROGRAM = 500 * 2**20
"""Python, torch and transformers."""
_FLOAT32 = 4
_TRAINED = 4
"""An adapter that learns: itself, its gradient, and both moments of AdamW."""
_KEPT = 6
"""Adapters that are kept ready to answer."""
_ACTIVATIONS = 2
"""Numbers kept for the backward pass, for each output of an adapted layer."""
_LOSS = 13
"""Numbers that the loss and its gradient take at most, for each response token and each token of the vocabulary."""
_CHOICE = 8
"""Numbers that choosing a token takes at most, for each token of the vocabulary."""
_ARENA_MAX = -8
"""How glibc calls the number of heaps."""
_PROMPT, _ANSWER, _BATCH, _ROWS = 100, 400, 4, 64
"""Tokens of a prompt and of an answer, answers of an update and answers decoded at once, in a step by the defaults."""


@dataclass(frozen=True)
class ModelSizes:
    """What the memory follows from: `outputs` and `inputs` are features summed over the layers that adapters change.

    `matrices` are the numbers in those layers, `cached` those that one token leaves in the cache of keys and values.
    `width` is in bytes, of a number. Adapters of a `small` model are merged into copies of the layers; a `packed` one
    has a second copy of its weights to multiply with.
    """

    parameters: int
    matrices: int
    outputs: int
    inputs: int
    layers: int
    cached: int
    vocabulary: int
    width: int
    small: bool
    packed: bool

    @classmethod
    def of(cls, directory: Path, config: Any, width: int, small_bytes: int, packed_bytes: int) -> "ModelSizes | None":
        """Those of a model's files, of which only the headers are read; None where they do not tell."""
        try:
            shapes = _shapes(directory)
            heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            adapted = [shape for shape in shapes.values() if len(shape) == 2 and config.vocab_size not in shape]
        except (OSError, SafetensorError, AttributeError):
            return None
        parameters = sum(map(math.prod, shapes.values()))
        return cls(
            parameters=parameters,
            matrices=sum(map(math.prod, adapted)),
            outputs=sum(shape[0] for shape in adapted),
            inputs=sum(shape[1] for shape in adapted),
            layers=len(adapted),
            cached=2 * config.num_hidden_layers * heads * size,
            vocabulary=config.vocab_size,
            width=width,
            small=parameters * width <= small_bytes,
            packed=parameters * width <= packed_bytes,
        )


@dataclass(frozen=True)
class Memory:
    """Bytes by what takes them."""

    weights: int
    adapters: int
    decoding: int
    update: int

    @property
    def total(self) -> int:
        """All of it, and the program."""
        return _PROGRAM + self.weights + self.adapters + self.decoding + self.update

    def __str__(self) -> str:
        parts = {name: getattr(self, name) for name in ("weights", "adapters", "decoding", "update")}
        said = ", ".join(f"{name} {_gb(size)}" for name, size in {"program": _PROGRAM, **parts}.items())
        return f"about {_gb(self.total)} GB ({said})"


def memory_of(
    sizes: ModelSizes,
    *,
    rank: int = AdapterSpec("").rank,
    rows: int = _ROWS,
    batch: int = _BATCH,
    prompt: int = _PROMPT,
    answer: int = _ANSWER,
) -> Memory:
    """With `rows` answers decoded at once beside an update on `batch` answers, of so many tokens each.

    docs/scale.md writes it out. Trained adapters are in 32 bits, and so is what is kept for the backward pass.
    """
    adapter = rank * (sizes.inputs + sizes.outputs)
    ready = sizes.matrices if sizes.small else adapter
    kept = _ACTIVATIONS * sizes.outputs + rank * sizes.layers
    logits = MAX_LOGITS if sizes.packed else MAX_LOGITS_OF_GPU
    together = min(batch, max(1, logits // (answer * sizes.vocabulary)))
    return Memory(
        weights=sizes.parameters * sizes.width * (2 if sizes.packed else 1),
        adapters=adapter * _TRAINED * _FLOAT32 + _KEPT * ready * sizes.width,
        decoding=rows * ((prompt + answer) * sizes.cached * sizes.width + _CHOICE * sizes.vocabulary * _FLOAT32),
        update=_FLOAT32 * together * ((prompt + answer) * kept + _LOSS * answer * sizes.vocabulary),
    )


def require_memory(name: str, sizes: ModelSizes, free: int) -> Memory:
    """What a step by the defaults takes; `InvalidInput` where `free` bytes do not hold the least that can learn."""
    least = memory_of(sizes, rows=1, batch=1)
    if least.total > free:
        halved = "; in bfloat16, on a GPU, the weights take half" if sizes.width == _FLOAT32 else ""
        raise InvalidInput(
            f"base model {name!r} does not fit: one answer at a time takes {least}, and {_gb(free)} GB are free; "
            f"take a smaller model, or end what else holds memory{halved}"
        )
    return memory_of(sizes)


def told_memory(memory: Memory, free: int) -> str:
    """What a step by the defaults takes, for a person; and what takes less, where it may be too much."""
    hint = "; fewer tokens trained on at once take less: max_tokens, batch_size" if memory.total > free else ""
    return (
        f"{memory} with {_ROWS} answers under way and an update on {_BATCH} answers of {_ANSWER} tokens; "
        f"{_gb(free)} GB are free{hint}"
    )


def give_back() -> None:
    """Return freed memory, which glibc keeps, to the system: over twenty updates, more than was ever in use."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def share_heaps() -> None:
    """Let threads allocate from two heaps: glibc gives each its own, and in each keeps what was freed there."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def free_memory(meminfo: Path = Path("/proc/meminfo"), container: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process may still take of the machine and of its container; None where nothing says so.

    What either keeps of files that were read, such as a model's, is free: it is given up for whoever needs it.
    """
    free = [_said_by(meminfo)]
    most, used = (_number(container / name) for name in ("memory.max", "memory.current"))
    free.append(None if most is None or used is None else max(0, most - used + _of_files(container / "memory.stat")))
    return min((each for each in free if each is not None), default=None)


def _said_by(meminfo: Path) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None


def _of_files(stat: Path) -> int:
    try:
        numbers = dict(line.split() for line in stat.read_text().splitlines())
        return int(numbers["active_file"]) + int(numbers["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no bound
        return None


def _shapes(directory: Path) -> Mapping[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            shapes |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # no mapping
    return shapes


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"
