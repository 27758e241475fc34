"""A converted folder: made beside its place, moved there whole, and marked with what it was made from."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from claas.core.errors import InvalidInput
from claas.core.files import read_text, sync_directory, working_in, writing
from claas.results.records import SCHEMA_VERSION, Record
from claas.results.run_files import parsed

MARK = "conversion.json"


class Conversion(Record):
    """`conversion.json` of a converted folder: what it was made from, and how far off it was found to be.

    `digest` is of the source's files, of its config or base model, and of the settings. `max_difference` is the largest
    between the log probabilities of a text's `tokens` in the source and in the folder, in nats, computed in 32 bits.
    `rounding` is by how much it moved them at most that weights were rounded to `dtype`, None where none were. `files`
    are sizes in bytes.
    """

    schema_version: int = SCHEMA_VERSION
    source: str
    kind: str
    digest: str
    base: str | None
    dtype: str
    tokens: int
    max_difference: float
    rounding: float | None
    files: dict[str, int]
    packages: dict[str, str]
    created: str


def converted(folder: Path, digest: str) -> Conversion | None:
    """What the mark in `folder` says; None where there is no such folder.

    `InvalidInput` where it holds something else than what this digest makes.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / MARK).is_file():
        raise InvalidInput(f"{folder} exists, and is no converted folder; give another output")
    mark = parsed(folder / MARK, read_text(folder / MARK), Conversion, f"remove {folder}")
    if mark.digest != digest:
        raise InvalidInput(
            f"{folder} was made from something else ({mark.source}, or with other settings); give another output"
        )
    sizes = sizes_of(folder)
    if changed := [name for name, size in mark.files.items() if sizes.get(name) != size]:
        raise InvalidInput(f"{folder} is damaged ({', '.join(changed)} changed since); remove it, and convert again")
    return mark


def sizes_of(folder: Path) -> dict[str, int]:
    """The files of a converted folder but the mark, with their sizes in bytes."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != MARK}


@contextmanager
def alone(folder: Path) -> Generator[None, None, None]:
    """Hold the place of `folder`; `Conflict` while another process does."""
    with working_in(folder.parent, f".{folder.name}.lock", f"another process is converting into {folder}"):
        yield


@contextmanager
def staged(folder: Path) -> Generator[Path, None, None]:
    """A folder to write to that becomes `folder` when all went well, in one step; otherwise nothing is left of it."""
    stage = folder.with_name(f".converting-{folder.name}")
    with writing(folder):
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir()
    try:
        yield stage
        with writing(folder):
            for path in stage.iterdir():
                _sync(path)
            sync_directory(stage)
            stage.rename(folder)
            sync_directory(folder.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def require_room(folder: Path, size: int) -> None:
    """An OSError where `size` bytes do not fit on the disk, before minutes are spent."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(0, f"{size / 1e6:,.0f} MB are needed, and {free / 1e6:,.0f} MB free")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
