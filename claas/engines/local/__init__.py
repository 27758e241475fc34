"""The local engine: a Hugging Face model on this machine that answers, scores and learns through LoRA adapters.

Importing any module of this package without the `local` extra raises `MissingExtra`, which names what to install.
"""

from importlib.util import find_spec

from claas.core.errors import MissingExtra

for _package in ("torch", "transformers", "peft", "safetensors"):
    if find_spec(_package) is None:
        raise MissingExtra(_package, "local")
