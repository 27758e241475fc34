"""A directory that PEFT loads an adapter from, made of files that came from elsewhere."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from claas.core.files import sync_directory, writing

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make `directory` hold `files`, in one step."""
    staged = directory.with_name(f".staged-{directory.name}")
    with writing(directory):
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for name, data in files.items():
            (staged / name).write_bytes(data)
        staged.rename(directory)
        sync_directory(directory.parent)
