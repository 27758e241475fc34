"""The keys and values of the rows being decoded, each row at its own position in its own slot."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

STRIDE = 16
"""Lengths of attention are multiples of this: the CPU kernels then give the same bits whatever the padding."""


def round_up(length: int) -> int:
    """The next multiple of `STRIDE`."""
    return -(-length // STRIDE) * STRIDE


class SlotCache(Cache):
    """Keys and values, per layer (slots, heads, columns, size): column t of a slot belongs to position t of its row.

    Before a forward pass, `prefilling` or `stepping` says what the pass writes. Unwritten columns hold zeros or the
    past of another row; the attention mask hides them.
    """

    def __init__(self) -> None:
        self.layers = []  # what the base class would manage; this one manages tensors
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._rows = 0
        self._columns = 0
        self._slots: Tensor | None = None
        self._positions: Tensor | None = None
        self._length = 0

    def prefilling(self, slots: Sequence[int], length: int, device: torch.device) -> None:
        """The next pass writes positions 0..length-1 of `slots`, and attends to nothing else."""
        self._reserve(max(slots) + 1, length)
        self._slots = torch.tensor(slots, device=device)
        self._positions = None
        self._length = length

    def stepping(self, positions: Tensor, length: int) -> None:
        """The next pass writes one position (B,) of slots 0..B-1, and attends to their first `length` columns."""
        self._reserve(len(positions), length)
        self._slots = torch.arange(len(positions), device=positions.device)
        self._positions = positions
        self._length = length

    def move(self, moves: Sequence[tuple[int, int]], length: int) -> None:
        """Copy `length` columns from slot to slot, for all (source, target) at once."""
        sources = [source for source, _ in moves]
        targets = [target for _, target in moves]
        self._reserve(max(targets) + 1, length)
        for index in range(len(self._keys)):
            for tensors in (self._keys, self._values):
                tensors[index] = _grown(tensors[index], self._rows, self._columns)
                tensors[index][targets, :, :length] = tensors[index][sources, :, :length]

    def clear(self) -> None:
        """Free the memory; no row is being decoded."""
        self._keys.clear()
        self._values.clear()
        self._rows = self._columns = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write a layer's new keys and values (B, heads, T, size) and return those to attend to."""
        self._write(self._keys, layer_idx, key_states)
        self._write(self._values, layer_idx, value_states)
        if self._positions is None:
            return key_states, value_states
        rows = len(self._positions)
        return self._keys[layer_idx][:rows, :, : self._length], self._values[layer_idx][:rows, :, : self._length]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Rows differ in length; models take positions from `position_ids` instead."""
        return 0

    def _write(self, tensors: list[Tensor], layer: int, states: Tensor) -> None:
        while len(tensors) <= layer:
            tensors.append(states.new_zeros(0, states.shape[1], 0, states.shape[3]))
        tensor = tensors[layer] = _grown(tensors[layer], self._rows, self._columns, states)
        if self._positions is None:
            tensor[self._slots, :, : states.shape[2]] = states
        else:
            tensor[self._slots, :, self._positions] = states[:, :, 0]

    def _reserve(self, rows: int, columns: int) -> None:
        if rows > self._rows:
            self._rows = max(rows, min(2 * self._rows, self._rows + 8))
        if columns > self._columns:
            self._columns = round_up(max(columns, self._columns * 3 // 2))


def _grown(tensor: Tensor, rows: int, columns: int, like: Tensor | None = None) -> Tensor:
    """`tensor` with at least `rows` and `columns`, its content kept; heads and size are taken from `like`."""
    if tensor.shape[0] >= rows and tensor.shape[2] >= columns:
        return tensor
    _, heads, _, size = (tensor if like is None else like).shape
    grown = tensor.new_zeros(rows, heads, columns, size)
    grown[: tensor.shape[0], :, : tensor.shape[2]] = tensor
    return grown
