"""One forward pass of any Hugging Face causal language model, its rows each through their own weights."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from claas.engines.local.kv import SlotCache
from claas.engines.local.linear import LinearOp
from claas.engines.local.masks import mask
from claas.engines.local.model import BaseModel, linear_layers
from claas.engines.local.qwen3 import Qwen3Forward
from claas.engines.local.routing import Router, Segment


class Forward(Protocol):
    """A forward pass that changes nothing but its cache. One thread at a time."""

    def __call__(
        self,
        ids: Tensor,  # (B, T)
        positions: Tensor,  # (B, T), of the tokens in their rows
        length: int,  # columns attended to: those up to each token's position
        keep: Tensor,  # (B, T), True where logits are wanted; N of them, row by row
        segments: Sequence[Segment],
        cache: SlotCache | None = None,
    ) -> Tensor:
        """Logits (N, V)."""
        ...


def forward_of(base: BaseModel, head: LinearOp) -> Forward:
    """A forward pass over the parameters of `base`, for one thread."""
    return Qwen3Forward(base, head) if Qwen3Forward.suits(base) else GenericForward(base, head)


class GenericForward:
    """The model's own code, with its linear layers routed and its output head applied only where logits are wanted."""

    def __init__(self, base: BaseModel, head: LinearOp) -> None:
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
        cache: SlotCache | None = None,
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
