"""The forward pass of the Llama family, written out: Llama, Mistral, Qwen and all that are built like them."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claas.engines.local.forward import Forward, GenericForward, PrefixCache, SlotCache, layer_windows, mask
from claas.engines.local.linear import LinearOp, ModelWeights, Router, Segment
from claas.engines.local.lora import head_of
from claas.engines.local.model import LoadedModel

_TRIED = (2, 32)
"""Rows and tokens that show whether the written-out forward pass is the model's own."""
_ROUNDING, _HALF_ROUNDING = 1e-4, 0.1
"""How far logits may then differ on average, in their standard deviations, in float32 and in half precision."""


def forwards_of(base: LoadedModel, weights: ModelWeights, count: int) -> list[Forward]:
    """Forward passes over the parameters of `base`, each for one thread: written out where that gives the same.

    `weights` are those of the base model itself.
    """
    head = head_of(base)
    if LlamaForward.suits(base) and _same(base, LlamaForward(base, head), weights):
        return [LlamaForward(base, head) for _ in range(count)]
    return [GenericForward(base, head) for _ in range(count)]


@torch.inference_mode()
def _same(base: LoadedModel, forward: "LlamaForward", weights: ModelWeights) -> bool:
    """Whether a forward pass gives the logits of the model's own code, but for rounding."""
    model: Any = base.model
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(base.config.vocab_size, _TRIED, generator=generator).to(base.device)
    own = model(input_ids=ids, use_cache=False).logits.flatten(0, 1).float()
    positions = torch.arange(ids.shape[1], device=base.device).expand_as(ids)
    keep = torch.ones_like(ids, dtype=torch.bool)
    told = forward(ids, positions, ids.shape[1], keep, [Segment(weights, len(ids))]).float()
    bound = _ROUNDING if base.dtype == torch.float32 else _HALF_ROUNDING
    return bool(((told - own).abs().mean() <= bound * own.std()).item())


class LlamaForward:
    """Gives what `GenericForward` gives, to rounding, with about half the overhead per token.

    Padding exists only inside attention; everything else computes the N tokens that matter. D = size of a head,
    Q = query heads, K = key/value heads, H = size of the hidden state.
    """

    def __init__(self, base: LoadedModel, head: LinearOp) -> None:
        self._router = Router()
        self._head = head
        model: Any = base.model
        self._embedding: Tensor = model.model.embed_tokens.weight
        self._norm = _Norm(model.model.norm)
        layers = model.model.layers
        self._layers = [
            _Layer(layer, f"model.layers.{index}", window)
            for index, (layer, window) in enumerate(zip(layers, layer_windows(base.config, len(layers)), strict=True))
        ]
        self._windows = {layer.window for layer in self._layers}
        self._cos, self._sin = _rotation(model.model.rotary_emb, base.window, self._embedding)

    @staticmethod
    def suits(base: LoadedModel) -> bool:
        """Whether the model has the parts that this computes with; what it does with them is another question."""
        model: Any = base.model
        return (
            base.config is model.config
            and _parts(model) == {"model", "lm_head"}
            and _parts(model.model) == {"embed_tokens", "layers", "norm", "rotary_emb"}
            and all(map(_Layer.suits, model.model.layers))
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
        tokens, alone = _Ragged(keep), isinstance(cache, SlotCache) and cache.steps
        wanted = tokens.wanted(keep)
        hidden = {window: mask(positions, length, self._embedding.dtype, window) for window in self._windows}
        x = F.embedding(tokens.pack(ids), self._embedding)  # (N, H)
        places = tokens.pack(positions).clamp_max(len(self._cos) - 1)  # padding may stand beyond the window
        cos, sin = self._cos[places][:, None], self._sin[places][:, None]  # (N, 1, D)
        for index, layer in enumerate(self._layers):
            q, k, v = self._projected(layer, layer.before_attention(x), (cos, sin))
            k, v = tokens.pad(k).transpose(1, 2), tokens.pad(v).transpose(1, 2)  # (B, K, T, D)
            if cache is not None:
                k, v = cache.update(k, v, index)
            attended = layer.attend(tokens.pad(q), k, v, hidden[layer.window], alone=alone)
            attended = tokens.pack(attended)  # (N, Q * D)
            if layer is self._layers[-1] and wanted is not None:  # nothing reads the others any more
                x, attended = x[wanted], attended[wanted]
            x = x + self._router.linear(layer.o, attended)
            x = x + self._feed_forward(layer, layer.before_mlp(x))
        return self._head(self._norm(x))

    def _projected(self, layer: "_Layer", x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (N, Q, D), keys and values (N, K, D) of N tokens (N, H), the first two rotated."""
        q, k, v = (self._router.linear(name, x).view(len(x), -1, layer.size) for name in (layer.q, layer.k, layer.v))
        queries, qk = q.shape[1], torch.cat([q, k], 1)  # (N, Q + K, D)
        if layer.qk_norm is not None:
            qk = F.rms_norm(qk, (layer.size,), eps=layer.qk_eps) * layer.qk_norm
        qk = torch.addcmul(qk * rotation[0], qk.roll(layer.size // 2, -1), rotation[1])
        return qk[:, :queries], qk[:, queries:], v

    def _feed_forward(self, layer: "_Layer", x: Tensor) -> Tensor:
        linear = self._router.linear
        return linear(layer.down, layer.act(linear(layer.gate, x)) * linear(layer.up, x))


class _Ragged:
    """The tokens of a padded batch that matter: in every row, those up to its last kept one (causality hides others).

    Packed, they stand one after the other, (N, ...); padded, in their rows, (B, T, ...).
    """

    def __init__(self, keep: Tensor) -> None:
        self._shape = keep.shape
        self._matter = keep.flip(1).cummax(1).values.flip(1) if keep.shape[1] > 1 else None

    def wanted(self, keep: Tensor) -> Tensor | None:
        """Which of the packed tokens are kept; None where all are."""
        kept = self.pack(keep)
        return None if kept.all() else kept

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


class _Norm:
    """A layer that divides by the root of the mean square."""

    def __init__(self, module: Any) -> None:
        self.weight: Tensor = module.weight
        self.eps: float = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps

    @staticmethod
    def suits(module: Any) -> bool:
        """Whether the layer has the parameter of one, and says what it adds to the mean."""
        says = hasattr(module, "variance_epsilon") or hasattr(module, "eps")
        return says and _parts(module) == {"weight"}

    def __call__(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class _Layer:
    """One layer: its norms, the names of its linear layers, and how it attends."""

    def __init__(self, layer: Any, name: str, window: int | None) -> None:
        attention = layer.self_attn
        self.window = window
        self.before_attention = _Norm(layer.input_layernorm)
        self.before_mlp = _Norm(layer.post_attention_layernorm)
        self.act: nn.Module = layer.mlp.act_fn
        self.size: int = attention.head_dim
        self._scale: float = attention.scaling
        self._keys: int = attention.k_proj.weight.shape[0] // self.size
        self.qk_norm: Tensor | None = None
        if hasattr(attention, "q_norm"):
            queries = attention.q_proj.weight.shape[0] // self.size
            norms = _Norm(attention.q_norm), _Norm(attention.k_norm)
            self.qk_norm = torch.stack([norms[0].weight] * queries + [norms[1].weight] * self._keys)
            self.qk_eps = norms[0].eps
        self.q, self.k, self.v, self.o = (f"{name}.self_attn.{part}_proj" for part in "qkvo")
        self.gate, self.up, self.down = (f"{name}.mlp.{part}_proj" for part in ("gate", "up", "down"))

    @staticmethod
    def suits(layer: Any) -> bool:
        """Whether a layer of the model has the parts of this one."""
        if _parts(layer) != {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}:
            return False
        attention, norms = layer.self_attn, [layer.input_layernorm, layer.post_attention_layernorm]
        parts = _parts(attention)
        if parts >= {"q_norm", "k_norm"}:
            norms += [attention.q_norm, attention.k_norm]
            parts -= {"q_norm", "k_norm"}
        return (
            parts == {"q_proj", "k_proj", "v_proj", "o_proj"}
            and "position_ids" not in signature(attention.forward).parameters  # they do more there than rotate
            and _parts(layer.mlp) == {"gate_proj", "up_proj", "down_proj", "act_fn"}
            and isinstance(getattr(attention, "head_dim", None), int)
            and isinstance(getattr(attention, "scaling", None), float)
            and all(map(_Norm.suits, norms))
            and all(len(norm.weight) == attention.head_dim for norm in norms[2:])
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, *, alone: bool) -> Tensor:
        """What q (B, T, Q, D) finds in k and v (B, K, length, D), as (B, T, Q * D).

        With `alone`, each token finds the bits that it would find without the others.
        """
        batch, time = q.shape[:2]
        attention = F.scaled_dot_product_attention
        if time == 1:  # the query heads of a key head as its queries: no key is read twice
            q = q.reshape(batch, self._keys, -1, self.size)
            return attention(q, k, v, attn_mask=hidden, scale=self._scale).reshape(batch, time, -1)
        if alone:  # the same with each token as key heads of its own: what is multiplied has the shapes of one token
            heads = q.view(batch, time, self._keys, -1, self.size).transpose(1, 2).flatten(1, 2)  # (B, K * T, Q/K, D)
            hidden = hidden.transpose(1, 2).repeat(1, self._keys, 1, 1)  # (B, K * T, 1, length)
            out = attention(heads, k, v, attn_mask=hidden, scale=self._scale, enable_gqa=True)
            return out.view(batch, self._keys, time, -1, self.size).transpose(1, 2).reshape(batch, time, -1)
        out = attention(q.transpose(1, 2), k, v, attn_mask=hidden, scale=self._scale, enable_gqa=True)
        return out.transpose(1, 2).reshape(batch, time, -1)


def _parts(module: nn.Module) -> set[str]:
    """The names of a module's own layers and parameters."""
    layers, parameters = module.named_children(), module.named_parameters(recurse=False)
    return {name for name, _ in (*layers, *parameters)}


def _rotation(rotary: nn.Module, window: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin by position, (window, D), as `like` is; sin negative in its first half: to rotate is to roll."""
    positions = torch.arange(window, device=like.device)[None]
    cos, sin = rotary(like[:1], positions)
    half = sin.shape[-1] // 2
    return cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)
