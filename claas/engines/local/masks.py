"""Attention masks: what is added to the scores of columns a token must not see."""

import torch
from torch import Tensor


def mask(positions: Tensor, length: int, dtype: torch.dtype, window: int | None = None) -> Tensor:
    """What is added to attention scores, (B, 1, T, length): 0 at columns up to the token's position, else -max.

    With a sliding `window`, only its last columns.
    """
    columns = torch.arange(length, device=positions.device)
    behind = positions[:, None, :, None] - columns  # (B, 1, T, length)
    hidden = behind < 0 if window is None else (behind < 0) | (behind >= window)
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, torch.finfo(dtype).min)
