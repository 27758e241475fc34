"""What a run costs where tokens are paid for: an estimate, from the tokens on record and the user's prices."""

from collections.abc import Mapping

from claas.eval.types import Prices

_BY_UPDATE = {"prefill_tokens": "update_prefill", "trained_tokens": "trained"}


def update_tokens(metrics: Mapping[str, float]) -> dict[str, int]:
    """Tokens that an update read (`update_prefill`) and trained on (`trained`), where the engine tells them."""
    return {kind: int(metrics[name]) for name, kind in _BY_UPDATE.items() if name in metrics}


def estimate(tokens: Mapping[str, int], prices: Prices) -> float:
    """In the currency of `prices`: answers are sampled, prompts and scored completions are prefill."""
    prefill = sum(tokens.get(kind, 0) for kind in ("prompt", "scored", "update_prefill"))
    paid = tokens.get("completion", 0) * prices.sample + prefill * prices.prefill
    return (paid + tokens.get("trained", 0) * prices.train) / 1e6
