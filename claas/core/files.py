"""Files that survive a crash: atomic replacement, JSON lines of which only the last can be torn, and locks."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from claas.core.checks import first_problem
from claas.core.errors import Conflict, InvalidInput, StackError

M = TypeVar("M", bound=BaseModel)


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step: a reader sees the old file or the new one, never a part."""
    staged = path.with_name(f".{path.name}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        require_file(staged)
        try:
            with staged.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(path)
        except OSError:
            staged.unlink(missing_ok=True)  # a part of it would keep a full disk full
            raise
        sync(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append one whole line and fsync it. A torn line left by a crash is cut off first."""
    if "\n" in line:
        raise ValueError("a line must not contain a line break")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        require_file(path)
        is_new = not path.exists()
        _cut_torn_line(path)
        with path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync(path.parent)


def read_lines(path: Path) -> list[str]:
    """Every whole line of `path`, without a torn last one; a missing file has none.

    `InvalidInput` names a file that cannot be read, and the first line that is not text.
    """
    if not path.exists():
        return []
    with _reading(path):
        *whole, _torn = read_bytes(path).split(b"\n")
    return [_decoded(line, f"{path} is damaged at line {number}") for number, line in enumerate(whole, start=1)]


def read_records(path: Path, kind: type[M], mend: str) -> list[M]:
    """Every whole line of `path` as a record, without a torn last one; a missing file has none.

    `InvalidInput` names the first line that is no such record, and says how to mend that.
    """
    records: list[M] = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            records.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise InvalidInput(f"{path} is damaged at line {number} ({first_problem(error)}); {mend}") from None
    return records


def read_text(path: Path) -> str:
    """A whole file; `InvalidInput` names one that cannot be read, or is not text."""
    with _reading(path):
        content = read_bytes(path)
    return _decoded(content, f"{path} is damaged")


def read_rows(path: Path) -> Iterator[tuple[str, object]]:
    """What somebody's .jsonl file holds, each with where it stands (`notes.jsonl:3`); empty lines are passed over.

    `InvalidInput` names a file that cannot be read, and the line that is not JSON.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{path.name}:{number}"
            try:
                yield where, from_json(line)
            except ValueError as error:
                raise InvalidInput(f"{where} is not JSON: {error}") from error


def read_bytes(path: Path) -> bytes:
    """A whole file."""
    with open_file(path) as file:
        return file.read()


def sha256_of(path: Path) -> str:
    """The sha256 of a file, however large; an OSError where it is none."""
    require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_file(path: Path) -> BinaryIO:
    """A file to be read; an OSError where it is none."""
    require_file(path)
    return path.open("rb")


def require_file(path: Path) -> None:
    """An OSError where there is something else than a file: to open a pipe or a device may wait for ever."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """JSON text. Raises ValueError on NaN and infinity, which JSON has no word for."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent)


def set_aside(path: Path) -> Path:
    """Move what cannot be read to a name beside it that nothing has yet, so that it is not lost; where it is then."""
    number, aside = 1, path.with_name(f"{path.name}.bad")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.bad{number}")
    with writing(aside):
        path.rename(aside)
    return aside


@contextmanager
def writing(path: Path) -> Generator[None, None, None]:
    """Turn what the file system refuses (full disk, no permission) into an error that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StackError(
            f"cannot write {path}: {reason}; free or choose another place, then run the same command again"
        ) from error


@contextmanager
def staged(folder: Path) -> Generator[Path, None, None]:
    """A folder to write to that becomes `folder` when all went well, in one step; otherwise nothing is left of it."""
    stage = folder.with_name(f".making-{folder.name}")
    with writing(folder):
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir()
    try:
        yield stage
        with writing(folder):
            for path in stage.iterdir():
                sync(path)
            sync(stage)
            stage.rename(folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def require_room(folder: Path, size: int) -> None:
    """An OSError where `size` bytes do not fit on the disk, before minutes are spent."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(0, f"{size / 1e6:,.0f} MB are needed, and {free / 1e6:,.0f} MB free")


def sync(path: Path) -> None:
    """Make what a file holds, or a rename inside a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reading(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput(f"{path} cannot be read: {reason}; put the file back, or start anew elsewhere") from error


def _decoded(data: bytes, otherwise: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{otherwise}: byte {error.start} is not UTF-8; put back a copy, or start anew elsewhere"
        ) from None


def _cut_torn_line(path: Path) -> None:
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


_LOOK_S = 0.05


@contextmanager
def locked(path: Path, taken: str) -> Generator[None, None, None]:
    """Hold the lock file `path`; `Conflict` with the message `taken` while another process does.

    An OSError says that the file cannot be made.
    """
    require_file(path)
    with path.open("a") as file:
        if not _taken(file, fcntl.LOCK_EX):
            time.sleep(_LOOK_S)  # it may just have been looked at
            if not _taken(file, fcntl.LOCK_EX):
                raise Conflict(taken)
        yield


@contextmanager
def working_in(folder: Path, lock: str, taken: str) -> Generator[None, None, None]:
    """Make `folder`, and hold its file `lock`; `Conflict` with the message `taken` while another process does.

    `StackError` where the file system refuses either.
    """
    with ExitStack() as held:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder / lock, taken))
        yield


@contextmanager
def in_turn(path: Path) -> Generator[None, None, None]:
    """Hold the lock file `path`, once whoever holds it has let it go."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        require_file(path)
        file = path.open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path`; one that is not there, or cannot be read, is held by nobody."""
    try:
        with open_file(path) as file:
            return not _taken(file, fcntl.LOCK_SH)
    except OSError:
        return False


def _taken(file: IO[str] | IO[bytes], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
