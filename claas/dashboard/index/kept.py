"""What pages keep beside a run's records, so as not to read those again: every byte as it was written, or nothing."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from claas.core.errors import StackError
from claas.core.files import write_atomically
from claas.eval.records import Record

R = TypeVar("R", bound=Record)


def keep(path: Path, record: Record) -> None:
    """Keep a record under the sha256 of its text; where nothing can be written, it is made anew each time."""
    text = record.model_dump_json()
    with suppress(StackError):  # a folder that may only be read, a full disk: pages are right without
        write_atomically(path, f"{_digest(text.encode())}\n{text}")


def kept(path: Path, kind: type[R]) -> R | None:
    """What `keep` left; None where there is nothing, something else, or not every byte of it."""
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
        return kind.model_validate_json(text) if digest.decode() == _digest(text) else None
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
