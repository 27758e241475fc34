"""Which base model each mode runs by default, and the learning rate that suits a model when none is given."""

from claas.core.checks import one_of

EMBEDDED = "claas-tiny"
"""The small model that ships with the project."""

DEFAULT_BY_MODE = {"local": EMBEDDED, "tinker": "Qwen/Qwen3.6-35B-A3B", "modal": "Qwen/Qwen3-8B"}

_LEARNING_RATES = {EMBEDDED: 8e-4}
_LEARNING_RATE_OF_LARGE_MODELS = 3e-5


def default_base_model(mode: str) -> str:
    """The base model of `mode`; an unknown mode raises `InvalidInput` listing the known ones."""
    one_of("mode", mode, DEFAULT_BY_MODE)
    return DEFAULT_BY_MODE[mode]


def default_learning_rate(base_model: str) -> float:
    """The learning rate of `base_model`: 8e-4 was measured best on the embedded one; any other gets 3e-5."""
    return _LEARNING_RATES.get(base_model, _LEARNING_RATE_OF_LARGE_MODELS)
