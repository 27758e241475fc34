"""The forward pass over rows with caches of their own: written out for Qwen3, through transformers for others."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
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
        segments: Sequence[Segment],
        cache: SlotCache | PrefixCache | None = None,
    ) -> Tensor:
        """Logits (N, V)."""
        ...


def forward_of(base: LoadedModel, head: LinearOp) -> Forward:
    """A forward pass over the parameters of `base`, for one thread."""
    return Qwen3Forward(base, head) if Qwen3Forward.suits(base) else GenericForward(base, head)


class Qwen3Forward:
    """Gives what `GenericForward` gives, to rounding, with about half the overhead per token.

    Padding exists only inside attention; everything else computes the N tokens that matter. D = size of a head,
    Q = query heads, K = key/value heads, H = size of the hidden state.
    """

    def __init__(self, base: LoadedModel, head: LinearOp) -> None:
        config = base.config
        self._router = Router()
        self._head = head
        self._eps: float = config.rms_norm_eps
        self._queries: int = config.num_attention_heads
        self._keys: int = config.num_key_value_heads
        self._size: int = config.head_dim
        model: Any = base.model
        self._embedding: Tensor = model.model.embed_tokens.weight
        self._norm: Tensor = model.model.norm.weight
        self._layers = [
            _Layer(layer, f"model.layers.{index}", self._queries, self._keys)
            for index, layer in enumerate(model.model.layers)
        ]
        self._cos, self._sin = _rotation(model.model.rotary_emb, base.window, self._embedding)

    @staticmethod
    def suits(base: LoadedModel) -> bool:
        """Whether the model is what this computes."""
        config = base.config
        rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
        return (
            config.model_type == "qwen3"
            and config is cast(Any, base.model).config
            and set(config.layer_types) == {"full_attention"}
            and config.hidden_act == "silu"
            and rope.get("rope_type") == "default"
        )

    def __call__(
        self,
        ids: Tensor,
        positions: Tensor,
        length: int,
        keep: Tensor,
        segments: Sequence[Segment],
        cache: SlotCache | PrefixCache | None = None,
    ) -> Tensor:
        self._router.route(segments)
        tokens = _Ragged(keep)
        hidden = mask(positions, length, self._embedding.dtype)  # (B, 1, T, length)
        x = F.embedding(tokens.pack(ids), self._embedding)  # (N, H)
        cos = self._cos[tokens.pack(positions)][:, None]  # (N, 1, D)
        sin = self._sin[tokens.pack(positions)][:, None]
        for index, layer in enumerate(self._layers):
            q, k, v = self._projected(layer, self._normed(x, layer.before_attention), (cos, sin))
            k, v = tokens.pad(k).transpose(1, 2), tokens.pad(v).transpose(1, 2)  # (B, K, T, D)
            if cache is not None:
                k, v = cache.update(k, v, index)
            attended = tokens.pack(self._attend(tokens.pad(q), k, v, hidden))  # (N, Q * D)
            x = x + self._router.linear(layer.o, attended)
            x = x + self._feed_forward(layer, self._normed(x, layer.before_mlp))
        return self._head(self._normed(x[tokens.pack(keep)], self._norm))

    def _projected(self, layer: "_Layer", x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (N, Q, D), keys and values (N, K, D) of N tokens (N, H), the first two normed and rotated."""
        linear = self._router.linear
        q = linear(layer.q, x).view(-1, self._queries, self._size)
        k = linear(layer.k, x).view(-1, self._keys, self._size)
        v = linear(layer.v, x).view(-1, self._keys, self._size)
        qk = F.rms_norm(torch.cat([q, k], 1), (self._size,), eps=self._eps) * layer.qk_norm  # (N, Q + K, D)
        qk = torch.addcmul(qk * rotation[0], qk.roll(self._size // 2, -1), rotation[1])
        return qk[:, : self._queries], qk[:, self._queries :], v

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
        """What q (B, T, Q, D) finds in k and v (B, K, length, D), as (B, T, Q * D)."""
        batch, time = q.shape[:2]
        if time == 1:  # the query heads of a key head as its queries: no key is read twice
            out = F.scaled_dot_product_attention(q.reshape(batch, self._keys, -1, self._size), k, v, attn_mask=hidden)
        else:
            out = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=hidden, enable_gqa=True)
            out = out.transpose(1, 2)
        return out.reshape(batch, time, -1)

    def _feed_forward(self, layer: "_Layer", x: Tensor) -> Tensor:
        linear = self._router.linear
        return linear(layer.down, F.silu(linear(layer.gate, x)) * linear(layer.up, x))

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self._eps)


class _Ragged:
    """The tokens of a padded batch that matter: in every row, those up to its last kept one (causality hides others).

    Packed, they stand one after the other, (N, ...); padded, in their rows, (B, T, ...).
    """

    def __init__(self, keep: Tensor) -> None:
        self._shape = keep.shape
        self._matter = keep.flip(1).cummax(1).values.flip(1) if keep.shape[1] > 1 else None

    def pack(self, padded: Tensor) -> Tensor:
        """(B, T, ...) → (N, ...)."""
        return padded[:, 0] if self._matter is None else padded[self._matter]

    def pad(self, packed: Tensor) -> Tensor:
        """(N, ...) → (B, T, ...), zero elsewhere."""
        if self._matter is None:
            return packed[:, None]
        padded = packed.new_zeros(*self._shape, *packed.shape[1:])
        padded[self._matter] = packed
        return padded


class _Layer:
    """The norms of one layer, and the names of its linear layers."""

    def __init__(self, layer: Any, name: str, queries: int, keys: int) -> None:
        self.before_attention: Tensor = layer.input_layernorm.weight
        self.before_mlp: Tensor = layer.post_attention_layernorm.weight
        attention = layer.self_attn
        self.qk_norm = torch.stack([attention.q_norm.weight] * queries + [attention.k_norm.weight] * keys)
        self.q, self.k, self.v, self.o = (f"{name}.self_attn.{part}_proj" for part in "qkvo")
        self.gate, self.up, self.down = (f"{name}.mlp.{part}_proj" for part in ("gate", "up", "down"))


def _rotation(rotary: nn.Module, window: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin by position, (window, D), as `like` is; sin negative in its first half: to rotate is to roll."""
    positions = torch.arange(window, device=like.device)[None]
    cos, sin = rotary(like[:1], positions)
    half = sin.shape[-1] // 2
    return cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)


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
        types = set(cast(Sequence[str], getattr(base.config, "layer_types", None) or ()))
        self._window: int | None = getattr(base.config, "sliding_window", None)
        self._mixed = len(types) > 1
        if types == {"full_attention"}:
            self._window = None

    def __call__(
        self,
        ids: Tensor,
        positions: Tensor,
        length: int,
        keep: Tensor,
        segments: Sequence[Segment],
        cache: SlotCache | PrefixCache | None = None,
    ) -> Tensor:
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
        full = mask(positions, length, self._dtype)
        if self._window is None:
            return full
        sliding = mask(positions, length, self._dtype, self._window)
        return {"full_attention": full, "sliding_attention": sliding} if self._mixed else sliding


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


def mask(positions: Tensor, length: int, dtype: torch.dtype, window: int | None = None) -> Tensor:
    """What is added to attention scores, (B, 1, T, length): 0 at columns up to the token's position, else -max.

    With a sliding `window`, only its last columns.
    """
    columns = torch.arange(length, device=positions.device)
    behind = positions[:, None, :, None] - columns  # (B, 1, T, length)
    hidden = behind < 0 if window is None else (behind < 0) | (behind >= window)
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, torch.finfo(dtype).min)
