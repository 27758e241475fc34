"""Which rows of a batch go through which weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from claas.engines.local.linear import LinearOp


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
