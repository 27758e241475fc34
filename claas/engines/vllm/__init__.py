"""The vLLM engine: vLLM answers and scores, the local engine's learner trains, on the same machine.

vLLM itself has an environment of its own: docs/vllm.md.
"""

from importlib.util import find_spec

from claas.core.errors import MissingExtra
from claas.engines.base import Engine
from claas.engines.vllm.settings import VllmSettings


def require_startable() -> None:
    """Raise `MissingExtra` where what learns is not installed. A server is looked for when it is known which."""
    for package in ("torch", "transformers", "peft", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra(package, "vllm")


def open_engine(config: VllmSettings) -> Engine:
    """Load the base model to learn with, and find or start a server that answers."""
    from claas.engines.vllm.engine import VllmEngine

    return VllmEngine.open(config)
