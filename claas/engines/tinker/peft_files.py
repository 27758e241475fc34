"""What the service exports, as files that PEFT loads whole."""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from claas.core.errors import StackError
from claas.core.files import dump_json
from claas.engines.peft_directory import CONFIG, WEIGHTS

_MODULE = re.compile(r"\.([^.]+)\.lora_[AB]\.")


def complete(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The two files of an adapter. Raises `StackError` where one is missing or unreadable.

    Where the configuration names no modules, those of the weights are put in: PEFT would guess some, load these, and
    leave out the others without a word.
    """
    if missing := [name for name in (CONFIG, WEIGHTS) if name not in files]:
        raise StackError(f"Tinker exported {', '.join(files) or 'nothing'}, without {' and '.join(missing)}")
    try:
        config: Any = json.loads(files[CONFIG])
        names = _tensor_names(files[WEIGHTS])
    except ValueError as error:
        raise StackError(f"Tinker exported an adapter that cannot be read: {error}") from error
    if config.get("target_modules"):
        return {name: files[name] for name in (CONFIG, WEIGHTS)}
    modules = sorted({found[1] for name in names if (found := _MODULE.search(name))})
    config = {**config, "target_modules": modules}
    return {CONFIG: dump_json(config, indent=2).encode(), WEIGHTS: files[WEIGHTS]}


def _tensor_names(data: bytes) -> list[str]:
    """The names in the header of a safetensors file: its length in eight bytes, then that much JSON."""
    header = cast("dict[str, Any]", json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))
    return [name for name in header if name != "__metadata__"]
