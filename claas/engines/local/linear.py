"""Linear layers of many adapters at once: which rows of a batch belong to which weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor

LinearOp: TypeAlias = Callable[[Tensor], Tensor]
"""(..., in) → (..., out)."""

_ROWS = 4
"""CPU libraries multiply so many rows at a time, each of several threads its share of them, and round what is left of
fewer differently (measured with MKL on 1 to 8 threads)."""
_WIDE = 1024
"""Inputs beyond which a row alone is multiplied in parts, and so rounded differently (measured with oneDNN)."""


def linear_op(weight: Tensor, bias: Tensor | None, *, pack: bool) -> LinearOp:
    """x Wᵀ + b for W (out, in). `pack` copies W into the layout that the CPU multiplies fastest."""
    if pack and torch.backends.mkldnn.is_available():
        return _packed(weight.detach(), bias)

    def multiply(x: Tensor) -> Tensor:
        return linear(x, weight, bias)

    return multiply


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, each row of whose result is the same bits however many rows there are."""
    rows = x.shape[:-1].numel()
    missing = -rows % _ROWS
    if not missing or x.is_cuda:
        return F.linear(x, weight, bias)
    padded = F.pad(x.reshape(rows, x.shape[-1]), (0, 0, 0, missing))
    return F.linear(padded, weight, bias)[:rows].reshape(*x.shape[:-1], weight.shape[0])


def _packed(weight: Tensor, bias: Tensor | None) -> LinearOp:
    """oneDNN with W reordered once, not at every call: up to three times faster, and row-independent.

    It compiles a kernel for each number of rows and keeps it, at about 1 MB: so there are few such numbers.
    """
    reorder = cast(Callable[[Tensor, int], Tensor], torch.ops.mkldnn._reorder_linear_weight)
    apply = cast(Callable[..., Tensor], torch.ops.mkldnn._linear_pointwise)
    packed = reorder(weight.contiguous(), 16)
    outputs, fewest = weight.shape[0], 2 if weight.shape[1] > _WIDE else 1

    def multiply(x: Tensor) -> Tensor:
        rows = x.shape[:-1].numel()
        missing = max(fewest, compiled_rows(rows)) - rows
        if not missing:
            return apply(x, packed, bias, "none", [], "")
        padded = F.pad(x.reshape(rows, x.shape[-1]), (0, 0, 0, missing))
        return apply(padded, packed, bias, "none", [], "")[:rows].reshape(*x.shape[:-1], outputs)

    return multiply


def compiled_rows(rows: int) -> int:
    """How many rows are multiplied for so many: as many up to 4, and beyond 17 at most 15 % more."""
    unit = 1 if rows <= 4 else max(4, (1 << (rows - 1).bit_length()) >> 4)
    return -(-rows // unit) * unit


@dataclass(frozen=True, eq=False)
class ModelWeights:
    """The linear layers of one version, by module name, ready to run.

    `ops` are whole layers (base, or base with the adapter merged into it); `deltas` is what an unmerged adapter adds
    to them. Versions that share `ops` share the large multiplications.
    """

    ops: Mapping[str, LinearOp]
    deltas: Mapping[str, LinearOp]


@dataclass(frozen=True)
class Segment:
    """`rows` neighbouring rows of the batch that use the same weights."""

    weights: ModelWeights
    rows: int


class Router:
    """Applies linear layers to a batch whose rows belong to `segments`, in their order."""

    def __init__(self) -> None:
        self._segments: Sequence[Segment] = ()

    def route(self, segments: Sequence[Segment]) -> None:
        """Use `segments` for all layers from now on; together they cover the batch."""
        self._segments = segments

    def linear(self, name: str, x: Tensor) -> Tensor:
        """The layer `name` for x (rows, ..., in); with one segment, rows may be any number of tokens."""
        first = self._segments[0].weights
        parts = self._parts(x.shape[0])
        if all(weights.ops is first.ops for weights, _ in parts):
            y = first.ops[name](x)
        else:
            y = torch.cat([weights.ops[name](x[rows]) for weights, rows in parts])
        for weights, rows in parts:
            delta = weights.deltas.get(name)
            if delta is not None:
                y[rows] += delta(x[rows])
        return y

    def _parts(self, count: int) -> list[tuple[ModelWeights, slice]]:
        """The weights of each part of `count` rows."""
        if len(self._segments) == 1:
            return [(self._segments[0].weights, slice(None))]
        per_row = count // sum(segment.rows for segment in self._segments)  # > 1 where a model flattens (B, T)
        ends = list(accumulate(segment.rows * per_row for segment in self._segments))
        return [
            (segment.weights, slice(start, end))
            for segment, start, end in zip(self._segments, [0, *ends], ends, strict=False)
        ]
