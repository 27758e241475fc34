"""The forward pass of dense Qwen3, the embedded model's architecture, in as few operations as it takes."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claas.engines.local.kv import SlotCache
from claas.engines.local.linear import LinearOp
from claas.engines.local.masks import mask
from claas.engines.local.model import BaseModel
from claas.engines.local.routing import Router, Segment


class Qwen3Forward:
    """Gives what `GenericForward` gives, to rounding, with about half the overhead per token.

    Padding exists only inside attention; everything else computes the N tokens that matter. D = size of a head,
    Q = query heads, K = key/value heads, H = size of the hidden state.
    """

    def __init__(self, base: BaseModel, head: LinearOp) -> None:
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
        self._cos, self._sin = _rotation(model.model.rotary_emb, base.window, base.device)

    @staticmethod
    def suits(base: BaseModel) -> bool:
        """Whether the model is what this computes."""
        config = base.config
        rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
        return (
            config.model_type == "qwen3"
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
        cache: SlotCache | None = None,
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


def _rotation(rotary: nn.Module, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin by position, (window, D); sin negative in its first half, so that rotating is a roll."""
    positions = torch.arange(window, device=device)[None]
    cos, sin = rotary(torch.zeros(1, device=device), positions)
    half = sin.shape[-1] // 2
    return cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)
