"""The vLLM engine: vLLM answers and scores, the local engine's learner trains, on the same machine.

Importing any other module of this package without the `vllm` extra raises `MissingExtra`, which names what to install.
vLLM itself has an environment of its own: docs/vllm.md.
"""

from importlib.util import find_spec

from claas.core.errors import MissingExtra
from claas.engines.base import Engine
from claas.engines.vllm.settings import VllmSettings

for _package in ("torch", "transformers", "peft", "safetensors"):
    if find_spec(_package) is None:
        raise MissingExtra(_package, "vllm")


def require_startable() -> None:
    """A server that runs, or a program that starts one, is looked for when it is known which."""


def open_engine(config: VllmSettings) -> Engine:
    """Load the base model to learn with, and find or start a server that answers."""
    from claas.engines.vllm.engine import VllmEngine

    return VllmEngine.open(config)
