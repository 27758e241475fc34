"""Where a base model's files come from: this package, a directory, or the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path

from claas.core.errors import InvalidInput
from claas.core.settings import EMBEDDED
from claas.core.text import one_line
from claas.tiny import WEIGHTS_DIR

TEXT_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
"""Patterns of the files that a tokenizer and a configuration consist of."""

WEIGHT_FILES = ("*.safetensors",)
"""Patterns of the files with the weights."""


def model_directory(name: str, files: Sequence[str]) -> Path:
    """The directory of `name`: `claas-tiny`, a directory or a hub id, of which `files` are fetched.

    Raises `InvalidInput` saying what is wrong with anything else.
    """
    if name == EMBEDDED:
        return WEIGHTS_DIR
    if Path(name).is_dir():
        return Path(name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InvalidInput(f"base model {name!r}: no such directory")
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except LocalEntryNotFoundError as error:
        raise InvalidInput(
            f"base model {name!r} is neither a directory nor in the local cache, and the Hugging Face hub cannot be "
            "reached"
        ) from error
    except (OSError, ValueError) as error:  # the hub's errors are subclasses of these
        raise InvalidInput(
            f"base model {name!r} is neither a directory nor to be had from the Hugging Face hub: {one_line(error)}"
        ) from error
