"""GGUF files unpacked: each once, into a folder of the cache that transformers reads in seconds."""

import logging
import os
import shutil
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from claas.core.errors import InvalidInput, MissingExtra
from claas.core.files import in_turn, sha256_of, staged, write_atomically

CACHE_VARIABLE = "CLAAS_CACHE"
"""The folder for what can be made again, in place of `$XDG_CACHE_HOME/claas` or `~/.cache/claas`."""

_MARK = "unpacked.json"
_METHOD = 1
"""Of another number a folder was made in another way, and is made anew."""

_log = logging.getLogger(__name__)


class Unpacked(BaseModel):
    """`unpacked.json` of such a folder: the GGUF file it was made from, and by what.

    `bits` are those that a weight has in the file, on average. `files` are sizes in bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: int
    gguf: str
    sha256: str
    bits: float
    files: dict[str, int]
    packages: dict[str, str]


def unpacked(path: Path) -> tuple[Path, Unpacked]:
    """The folder with the float32 weights and the tokenizer of a GGUF file, made now if it is not there yet.

    Its place follows from the file's sha256. Processes that want the same one wait for the first of them; whatever a
    process that was killed has left is no such folder. `InvalidInput` where transformers cannot read the file.
    """
    digest = _digest(path)
    folder = cache_root() / "models" / f"{path.stem}-{digest[:16]}"
    if (mark := _whole(folder)) is not None:
        return folder, mark
    with in_turn(folder.with_name(f".{folder.name}.lock")):
        if (mark := _whole(folder)) is None:
            _log.warning("unpacking %s into %s, once: half a minute for 135M parameters", path.name, folder)
            mark = _make(path, digest, folder)
    return folder, mark


def cache_root() -> Path:
    """The folder for what can be made again."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "claas"


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise InvalidInput(f"base model {str(path)!r} cannot be read: {error.strerror}") from error


def _whole(folder: Path) -> Unpacked | None:
    """What the mark says of a folder that is as it was made; None of any other."""
    with suppress(OSError, ValidationError):
        mark = Unpacked.model_validate_json((folder / _MARK).read_bytes())
        return mark if mark.method == _METHOD and mark.files == _sizes(folder) else None
    return None


def _make(path: Path, digest: str, folder: Path) -> Unpacked:
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise MissingExtra(package, "local")
    from claas.models.weights import of_gguf, quiet, save

    shutil.rmtree(folder, ignore_errors=True)
    with staged(folder) as stage, quiet():
        model, tokenizer = of_gguf(path)
        save(model, tokenizer, stage)
        mark = Unpacked(
            method=_METHOD,
            gguf=path.name,
            sha256=digest,
            bits=round(8 * path.stat().st_size / sum(each.numel() for each in model.parameters()), 1),
            files=_sizes(stage),
            packages={name: version(name) for name in ("gguf", "torch", "transformers")},
        )
        write_atomically(stage / _MARK, mark.model_dump_json(indent=1) + "\n")
    return mark


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != _MARK}
