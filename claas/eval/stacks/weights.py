"""Whether the weights that a reply names are the ones that were asked for."""

from claas.eval.stack import Adapter, WrongWeights


def require_weights(adapter: Adapter, model: str, digest: str | None) -> None:
    """Raise `WrongWeights` unless they are. Names alone tell the base model, whose digest only the stack knows."""
    if model != adapter.model or (adapter.digest and digest != adapter.digest):
        asked = f"{adapter.model} ({adapter.digest or 'any digest'})"
        raise WrongWeights(
            f"asked {asked}, answered by {model} ({digest}): the stack serves other weights than it was asked for, so "
            "nothing it says can be trusted"
        )
