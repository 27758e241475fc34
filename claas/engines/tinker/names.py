"""What has to be right before a Tinker service is asked: the key, and the name of a model that it serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from claas.core.errors import InvalidInput

KEY_VARIABLE = "CLAAS_TINKER_API_KEY"

_RETIRED = {
    "Qwen/Qwen3-30B-A3B": "Qwen/Qwen3.6-35B-A3B",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "Qwen/Qwen3.6-35B-A3B",
    "Qwen/Qwen3.5-27B": "Qwen/Qwen3.6-27B",
}
"""What the service's documentation lists as retired on 2026-06-12, and the replacement it names."""

_SHOWN = 3


def require_key(key: str | None) -> str:
    """The key, known to be one. `InvalidInput` says what is wrong, and never what the key is."""
    if not key:
        raise InvalidInput(
            f"mode=tinker needs a key: set the environment variable {KEY_VARIABLE} to your Tinker API key"
        )
    if not key.startswith("tml-") or not key.isascii() or any(character.isspace() for character in key):
        raise InvalidInput(f"{KEY_VARIABLE} is not a Tinker API key: those begin with tml- and have no spaces")
    return key


@dataclass(frozen=True)
class ServedModel:
    """A model that the service lists. `window` is the most tokens of prompt and answer together, None where unknown."""

    name: str
    window: int | None
    trainable: bool
    sampleable: bool


def require_served(base_model: str, served: Sequence[ServedModel]) -> ServedModel:
    """What the service says of `base_model`. Raises `InvalidInput` with the nearest names where it cannot be used."""
    usable = [model for model in served if model.trainable and model.sampleable]
    for model in usable:
        if model.name == base_model:
            return model
    raise InvalidInput(f"base_model {base_model!r} {_reason(base_model, served)}; {_instead(base_model, usable)}")


def _reason(base_model: str, served: Sequence[ServedModel]) -> str:
    if base_model in _RETIRED:
        return f"was retired by Tinker on 2026-06-12 in favour of {_RETIRED[base_model]!r}"
    for model in served:
        if model.name == base_model:
            return f"is served by Tinker, but cannot be {'sampled' if model.trainable else 'trained'}"
    return "is not a model that this Tinker service lists"


def _instead(base_model: str, usable: Sequence[ServedModel]) -> str:
    if not usable:
        return "it lists none that can be trained and sampled"
    replacement = _RETIRED.get(base_model)
    names = sorted((model.name for model in usable), key=lambda name: (name != replacement, -_alike(name, base_model)))
    return f"nearest of the {len(names)} it lists: {', '.join(names[:_SHOWN])}"


def _alike(one: str, other: str) -> float:
    """How alike two names are, in [0, 1], whatever their owner and case."""
    parts = [name.rpartition("/")[2].lower() for name in (one, other)]
    return SequenceMatcher(None, *parts, autojunk=False).ratio()
