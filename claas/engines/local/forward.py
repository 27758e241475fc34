"""The forward pass over rows with caches of their own, through the model's own code."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from claas.engines.local.linear import LinearOp, Router, Segment
from claas.engines.local.model import STRIDE, LoadedModel, linear_layers


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
        self._slots = torch.zeros(0, 1, dtype=torch.long)
        self._positions: Tensor | None = None
        self._opening: PrefixCache | None = None
        self._apart = False
        self._length = 0

    def prefilling(
        self, slots: Sequence[int], length: int, device: torch.device, opening: "PrefixCache | None" = None
    ) -> None:
        """The next pass writes positions 0..length-1 of `slots`, and attends to nothing else.

        Where all begin with an `opening` that was read before, the pass is fed what follows it.
        """
        self._reserve(max(slots) + 1, length)
        self._opening = opening
        if opening is not None:
            opening.continuing(torch.zeros(len(slots), dtype=torch.long, device=device))
        self._slots = torch.tensor(slots, device=device)[:, None]
        self._positions, self._apart = None, False
        self._length = length

    def stepping(self, positions: Tensor, length: int) -> None:
        """The next pass writes positions (B, T) of slots 0..B-1, and attends to their first `length` columns.

        Each of the T tokens of a row has the bits that it would have if they were fed one after the other.
        """
        rows, time = positions.shape
        self._reserve(rows, length + time - 1)
        self._slots = torch.arange(rows, device=positions.device)[:, None]
        self._positions, self._apart = positions, False
        self._length = length

    @property
    def steps(self) -> bool:
        """Whether each token of the next pass is computed as if it came alone."""
        return self._positions is not None

    def apart(self, slots: Tensor, positions: Tensor) -> None:
        """The tokens (N,) of the next pass, which stand at positions of slots, are fed as a row each."""
        self._slots, self._positions, self._apart = slots[:, None], positions[:, None], True

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
        if self._positions is None and self._opening is not None:
            key_states, value_states = self._opening.update(key_states, value_states, layer_idx)
        self._write(self._keys, layer_idx, key_states)
        self._write(self._values, layer_idx, value_states)
        if self._positions is None:
            return key_states, value_states
        rows = self._slots[:, 0] if self._apart else slice(len(self._positions))
        return self._keys[layer_idx][rows, :, : self._length], self._values[layer_idx][rows, :, : self._length]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Rows differ in length; models take positions from `position_ids` instead."""
        return 0

    def _write(self, tensors: list[Tensor], layer: int, states: Tensor) -> None:
        while len(tensors) <= layer:
            tensors.append(states.new_zeros(0, states.shape[1], 0, states.shape[3]))
        tensor = tensors[layer] = _grown(tensors[layer], self._rows, self._columns, states)
        if self._positions is None:
            tensor[self._slots[:, 0], :, : states.shape[2]] = states
        else:
            tensor[self._slots, :, self._positions] = states.transpose(1, 2)

    def _reserve(self, rows: int, columns: int) -> None:
        if rows > self._rows:
            self._rows = max(rows, min(2 * self._rows, self._rows + 8))
        if columns > self._columns:
            self._columns = round_up(max(columns, self._columns * 3 // 2))


class PrefixCache(Cache):
    """Keys and values of the beginnings that one pass reads, (B, heads, columns, size) per layer.

    After `continuing` each row of a pass attends to one of them and to itself: its own columns follow.
    """

    def __init__(self) -> None:
        self.layers = []  # what the base class would manage; this one manages tensors
        self._read: dict[int, tuple[Tensor, Tensor]] = {}
        self._places: Tensor | None = None

    def continuing(self, places: Tensor) -> None:
        """The rows of the next pass continue the beginnings at `places` (B,)."""
        self._places = places

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values (B, heads, T, size) of beginnings; of what continues them, return both."""
        if self._places is None:
            self._read[layer_idx] = key_states, value_states
            return key_states, value_states
        keys, values = (tensor[self._places] for tensor in self._read[layer_idx])
        return torch.cat([keys, key_states], 2), torch.cat([values, value_states], 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Models take positions from `position_ids` instead."""
        return 0


def _grown(tensor: Tensor, rows: int, columns: int, like: Tensor | None = None) -> Tensor:
    """`tensor` with at least `rows` and `columns`, its content kept; heads and size are taken from `like`."""
    if tensor.shape[0] >= rows and tensor.shape[2] >= columns:
        return tensor
    _, heads, _, size = (tensor if like is None else like).shape
    grown = tensor.new_zeros(rows, heads, columns, size)
    grown[: tensor.shape[0], :, : tensor.shape[2]] = tensor
    return grown


class Forward(Protocol):
    """A forward pass that changes nothing but its cache. One thread at a time."""

    def __call__(
        self,
        ids: Tensor,  # (B, T)
        positions: Tensor,  # (B, T), of the tokens in their rows
        length: int,  # columns attended to: those up to each token's position
        keep: Tensor,  # (B, T), True where logits are wanted; N of them, row by row
        segments: Sequence[Segment],  # of the rows, or, where several are kept of a row, of the N tokens
        cache: SlotCache | PrefixCache | None = None,
    ) -> Tensor:
        """Logits (N, V)."""
        ...


class GenericForward:
    """The model's own code, with its linear layers routed and its output head applied only where logits are wanted."""

    def __init__(self, base: LoadedModel, head: LinearOp) -> None:
        self._model: Any = base.share()
        self._router = Router()
        self._head = _Head(head)
        for name in linear_layers(self._model):
            _replace(self._model, name, _Routed(name, self._router))
        self._model.set_output_embeddings(self._head)
        self._dtype = next(base.model.parameters()).dtype
        self._windows = set(layer_windows(base.config, 1))

    def __call__(
        self,
        ids: Tensor,
        positions: Tensor,
        length: int,
        keep: Tensor,
        segments: Sequence[Segment],
        cache: SlotCache | PrefixCache | None = None,
    ) -> Tensor:
        if isinstance(cache, SlotCache) and cache.steps and ids.shape[1] > 1:
            cache.apart(keep.nonzero()[:, 0], positions[keep])
            ids, positions, keep = ids[keep][:, None], positions[keep][:, None], keep[keep][:, None]
        self._router.route(segments)
        self._head.keep = keep
        output = self._model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=self._masks(positions, length),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.logits[0]

    def _masks(self, positions: Tensor, length: int) -> Tensor | dict[str, Tensor]:
        masks = [mask(positions, length, self._dtype, window) for window in sorted(self._windows, key=bool)]
        return masks[0] if len(masks) == 1 else {"full_attention": masks[0], "sliding_attention": masks[1]}


class _Routed(nn.Module):
    """A linear layer that asks the router which weights each row uses."""

    def __init__(self, name: str, router: Router) -> None:
        super().__init__()
        self._name = name
        self._router = router

    def forward(self, x: Tensor) -> Tensor:
        return self._router.linear(self._name, x)


class _Head(nn.Module):
    """The output head, for the positions in `keep` only; (B, T, H) → (1, N, V)."""

    def __init__(self, head: LinearOp) -> None:
        super().__init__()
        self._head = head
        self.keep = torch.ones(0)

    def forward(self, hidden: Tensor) -> Tensor:
        return self._head(hidden[self.keep])[None]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def layer_windows(config: Any, layers: int) -> list[int | None]:
    """The sliding window of each of so many layers; None where a layer attends to all that is behind a token."""
    window: int | None = getattr(config, "sliding_window", None)
    types: Sequence[str] = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    return [window if kind == "sliding_attention" else None for kind in types]


def mask(positions: Tensor, length: int, dtype: torch.dtype, window: int | None = None) -> Tensor:
    """What is added to attention scores, (B, 1, T, length): 0 at columns up to the token's position, else -max.

    With a sliding `window`, only its last columns.
    """
    columns = torch.arange(length, device=positions.device)
    behind = positions[:, None, :, None] - columns  # (B, 1, T, length)
    hidden = behind < 0 if window is None else (behind < 0) | (behind >= window)
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, torch.finfo(dtype).min)
