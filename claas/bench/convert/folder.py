"""A converted folder: made beside its place, moved there whole, and marked with what it was made from."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from claas.core.errors import InvalidInput
from claas.core.files import read_text, working_in
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
