"""A bounded file of JSON lines that survives a crash, with its newest lines found by key in constant time."""

import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from claas.core.concurrency import Threads
from claas.core.files import require_file, sync, writing
from claas.core.text import quoted

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Place:
    """The position of a line in the file; `size` excludes the line break."""

    start: int
    size: int
    keys: tuple[str, ...]


class Journal:
    """The newest `capacity` lines of a file, found by any of their keys; the keys of a line are distinct.

    Only keys and places are held in memory. The file is cut back to the newest lines when it holds twice as many. One
    process writes a journal at a time.
    """

    def __init__(self, path: Path, capacity: int, keys_of: Callable[[bytes], Sequence[str]]) -> None:
        """Open or create `path`. `keys_of` returns a line's keys, and raises ValueError for a malformed line.

        Malformed lines of the file are moved to `<path>.bad`, and a warning is logged.
        """
        self._path = path
        self._capacity = capacity
        self._keys_of = keys_of
        self._places: deque[_Place] = deque()
        self._by_key: dict[str, list[_Place]] = {}
        self._lines_in_file = 0
        self._appended = 0
        self._synced = 0
        self._thread = Threads("journal", 1)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            require_file(path)
            self._file = _open(path)
            self._load()
            sync(path.parent)

    async def append(self, line: bytes) -> None:
        """Append one line durably, dropping the oldest beyond the capacity; it survives a power cut once this returns.

        Lines that are appended at the same time share one fsync. ValueError for one that could not be read again.
        """
        number = await self._thread.run(self._append, line)
        await self._thread.run(self._sync, number)

    async def find(self, key: str) -> bytes | None:
        """The newest line with this key, or None."""
        return next(iter(await self.find_all(key, 1)), None)

    async def find_all(self, key: str, at_most: int) -> list[bytes]:
        """The newest lines with this key, the newest first."""
        return await self._thread.run(self._find, key, at_most)

    def close(self) -> None:
        """Let go of the file; every line is in it already."""
        self._thread.close()
        self._file.close()

    def _append(self, line: bytes) -> int:
        """Hand one line to the operating system, so that it outlives this process; how many that makes."""
        if b"\n" in line:
            raise ValueError("a line must not contain a line break")
        keys = tuple(self._keys_of(line))
        with writing(self._path):
            start = _append_whole(self._file, line + b"\n")
            self._appended += 1
            self._lines_in_file += 1
            self._remember(_Place(start, len(line), keys))
            if self._lines_in_file >= 2 * self._capacity:
                self._compact()
        return self._appended

    def _sync(self, number: int) -> None:
        """Make the lines up to this one outlive the machine, unless another's fsync has."""
        if self._synced < number:
            with writing(self._path):
                os.fsync(self._file.fileno())
            self._synced = self._appended

    def _find(self, key: str, at_most: int) -> list[bytes]:
        return [self._read(place) for place in islice(reversed(self._by_key.get(key, ())), at_most)]

    def _load(self) -> None:
        lines: list[tuple[int, int]] = []
        end = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # torn by a crash
                lines.append((end, len(line) - 1))
                end += len(line)
        os.ftruncate(self._file.fileno(), end)
        self._lines_in_file = len(lines)
        newest: list[_Place] = []
        bad: list[_Place] = []
        why = ""
        while lines and len(newest) < self._capacity:
            place = _Place(*lines.pop(), ())
            try:
                place.keys = tuple(self._keys_of(self._read(place)))
                newest.append(place)
            except ValueError as error:
                bad.append(place)
                why = quoted(str(error), 300)
        for place in reversed(newest):
            self._remember(place)
        if bad:
            self._set_aside(bad[::-1], why)

    def _set_aside(self, bad: Sequence[_Place], why: str) -> None:
        """Move these lines to a file beside this one. `why` says what is wrong with the first."""
        aside = self._path.with_name(f"{self._path.name}.bad")
        with aside.open("ab") as file:
            file.writelines(self._read(place) + b"\n" for place in bad)
            file.flush()
            os.fsync(file.fileno())
        self._compact()
        _log.warning("%s: %d lines cannot be read and are in %s now; the first: %s", self._path, len(bad), aside, why)

    def _remember(self, place: _Place) -> None:
        self._places.append(place)
        for key in place.keys:
            self._by_key.setdefault(key, []).append(place)
        if len(self._places) > self._capacity:
            self._forget(self._places.popleft())

    def _forget(self, place: _Place) -> None:
        for key in place.keys:
            places = self._by_key[key]
            places.pop(0)  # the oldest place of all is the oldest of each of its keys
            if not places:
                del self._by_key[key]

    def _read(self, place: _Place) -> bytes:
        return os.pread(self._file.fileno(), place.size, place.start)

    def _compact(self) -> None:
        staged = self._path.with_name(f".{self._path.name}.tmp")
        starts: list[int] = []
        with staged.open("wb") as file:
            for place in self._places:
                starts.append(file.tell())
                file.write(self._read(place) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        staged.replace(self._path)
        sync(self._path.parent)
        self._file.close()
        self._file = _open(self._path)
        for place, start in zip(self._places, starts, strict=True):
            place.start = start
        self._lines_in_file = len(self._places)


def _open(path: Path) -> BinaryIO:
    return path.open("a+b", buffering=0)


def _append_whole(file: BinaryIO, data: bytes) -> int:
    """Append all of `data` or nothing; the position it begins at."""
    start = os.fstat(file.fileno()).st_size
    if file.write(data) != len(data):
        os.ftruncate(file.fileno(), start)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return start
