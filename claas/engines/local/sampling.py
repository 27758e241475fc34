"""Choosing the next token of every row at once."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

MOST_TOP_LOGPROBS = 20
"""How many alternatives a request may ask for."""


@dataclass(frozen=True)
class Choices:
    """One token per row: its id, its logprob and the entropy of its distribution (nats, temperature 1, no top_p)."""

    tokens: list[int]  # (B,)
    logprobs: list[float]  # (B,)
    entropies: list[float]  # (B,)
    top_ids: list[list[int]]  # (B, top_logprobs), likeliest first
    top_logprobs: list[list[float]]  # (B, top_logprobs)


def choose(
    logits: Tensor,  # (B, V)
    temperatures: list[float],  # (B,), 0 takes the likeliest token
    top_ps: list[float],  # (B,)
    uniforms: list[float],  # (B,), one random number in [0, 1) per row, which decides the row's token
    top_logprobs: int = 0,
) -> Choices:
    """Row by row independent: a row's choice is the same bits whatever rows stand beside it."""
    logits = logits.float()
    logprobs = logits.log_softmax(-1)  # (B, V)
    probabilities = logprobs.exp()
    entropies = -(probabilities * logprobs.clamp_min(torch.finfo(torch.float32).min)).sum(-1)
    tokens = _tokens(logits, temperatures, top_ps, uniforms)  # (B,)
    chosen = logprobs.gather(-1, tokens[:, None])[:, 0]
    picked = _floats(torch.stack([tokens.double(), chosen.double(), entropies.double()]))
    top = logprobs.topk(min(top_logprobs, logits.shape[-1])) if top_logprobs else None
    return Choices(
        tokens=[int(token) for token in picked[0]],
        logprobs=picked[1],
        entropies=picked[2],
        top_ids=cast(list[list[int]], top.indices.tolist()) if top else [],  # pyright: ignore[reportUnknownMemberType]
        top_logprobs=_floats(top.values) if top else [],
    )


def _floats(matrix: Tensor) -> list[list[float]]:
    """The rows of a matrix; `tolist` itself is untyped."""
    return cast(list[list[float]], matrix.tolist())  # pyright: ignore[reportUnknownMemberType]


def _tokens(logits: Tensor, temperatures: list[float], top_ps: list[float], uniforms: list[float]) -> Tensor:
    """The chosen token of every row, (B,)."""
    tokens = logits.argmax(-1)
    warm = [row for row, temperature in enumerate(temperatures) if temperature]
    if warm:
        divisors = logits.new_tensor([temperatures[row] for row in warm])[:, None]
        probabilities = (logits[warm] / divisors).softmax(-1)
        if narrowed := [index for index, row in enumerate(warm) if top_ps[row] < 1.0]:
            bounds = logits.new_tensor([top_ps[warm[index]] for index in narrowed])
            probabilities[narrowed] = _nucleus(probabilities[narrowed], bounds)
        tokens[warm] = _inverse_cdf(probabilities, [uniforms[row] for row in warm])
    return tokens


def _nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the likeliest tokens whose probabilities reach `top_p` (B,); the sum is below 1 afterwards."""
    ranked, order = probabilities.sort(-1, descending=True)
    before = ranked.cumsum(-1) - ranked
    return torch.zeros_like(probabilities).scatter(-1, order, ranked.masked_fill(before >= top_p[:, None], 0.0))


def _inverse_cdf(probabilities: Tensor, uniforms: list[float]) -> Tensor:
    """The first token at which the cumulative probability exceeds uniform · total, (B,).

    In float64, where uniform · total < total holds for every uniform below 1, so no token of probability 0 is chosen.
    """
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)  # (B, V)
    thresholds = torch.tensor(uniforms, dtype=torch.float64, device=probabilities.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp_max(probabilities.shape[-1] - 1)
