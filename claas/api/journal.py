"""A bounded file of JSON lines that survives a crash, with its newest lines found by key in constant time."""

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from claas.core.errors import StackError
from claas.core.files import sync_directory, writing


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line stands: `start` counts from the journal's first byte ever, `size` is without the line break."""

    start: int
    size: int
    keys: tuple[str, ...]


class Journal:
    """The newest `capacity` lines of a file, found by any of their keys, of which each line's are distinct.

    Only keys and places are held in memory. A line is handed to the operating system before `append` returns, so
    that it outlives this process; `sync` makes it outlive the machine. The file is cut back to the newest lines
    when it holds twice as many. One process writes a journal at a time.
    """

    def __init__(self, path: Path, capacity: int, keys_of: Callable[[bytes], Sequence[str]]) -> None:
        """Open or create `path`. `keys_of` gives a line's keys and raises ValueError for what is no such line."""
        self._path = path
        self._capacity = capacity
        self._places: deque[_Place] = deque()
        self._by_key: dict[str, list[_Place]] = {}
        self._cut_bytes = 0
        self._lines_in_file = 0
        self._appended = 0
        self._synced = 0
        self._syncing = asyncio.Lock()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open(path)
            self._load(keys_of)
            sync_directory(path.parent)

    def append(self, line: bytes, keys: Sequence[str]) -> None:
        """Add one line under its keys; the oldest is dropped beyond the capacity."""
        if b"\n" in line:
            raise ValueError("a line must not contain a line break")
        with writing(self._path):
            start = _append_whole(self._file, line + b"\n")
            self._appended += 1
            self._lines_in_file += 1
            self._remember(_Place(self._cut_bytes + start, len(line), tuple(keys)))
            if self._lines_in_file >= 2 * self._capacity:
                self._compact()

    def find(self, key: str) -> bytes | None:
        """The newest line with this key, None when there is none."""
        return next(self.find_all(key), None)

    def find_all(self, key: str) -> Iterator[bytes]:
        """Every line with this key, the newest first."""
        return (self._read(place) for place in reversed(self._by_key.get(key, ())))

    async def sync(self) -> None:
        """Make every line appended so far outlive a power cut. Calls that wait at the same time share one fsync."""
        mine = self._appended
        async with self._syncing:
            if self._synced >= mine:
                return
            started = self._appended
            with writing(self._path):
                await _fsync(self._file.fileno())
            self._synced = started

    def close(self) -> None:
        """Let go of the file; every line is in it already."""
        self._file.close()

    def _load(self, keys_of: Callable[[bytes], Sequence[str]]) -> None:
        newest: deque[tuple[int, int]] = deque(maxlen=self._capacity)
        end = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # torn by a crash
                newest.append((end, len(line) - 1))
                self._lines_in_file += 1
                end += len(line)
        os.ftruncate(self._file.fileno(), end)
        for start, size in newest:
            line = os.pread(self._file.fileno(), size, start)
            try:
                self._remember(_Place(start, size, tuple(keys_of(line))))
            except ValueError as error:
                raise StackError(
                    f"{self._path} holds a line at byte {start} that is not a record of this version; "
                    "move the file away to begin an empty one"
                ) from error

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
        return os.pread(self._file.fileno(), place.size, place.start - self._cut_bytes)

    def _compact(self) -> None:
        first = self._places[0].start - self._cut_bytes
        staged = self._path.with_name(f".{self._path.name}.tmp")
        with staged.open("wb") as file:
            for place in self._places:
                file.write(self._read(place) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        staged.replace(self._path)
        sync_directory(self._path.parent)
        self._file.close()
        self._file = _open(self._path)
        self._cut_bytes += first
        self._lines_in_file = len(self._places)


async def _fsync(descriptor: int) -> None:
    """fsync in a thread, of a descriptor of its own: compaction may replace the file, and the caller may give up."""
    own = os.dup(descriptor)

    def work() -> None:
        try:
            os.fsync(own)
        finally:
            os.close(own)

    working = asyncio.ensure_future(asyncio.to_thread(work))
    working.add_done_callback(_look_at)
    await asyncio.shield(working)


def _look_at(working: asyncio.Future[None]) -> None:
    """A failure that nobody waits for any more is no news: the next sync meets it again, or succeeds."""
    if not working.cancelled():
        working.exception()


def _open(path: Path) -> BinaryIO:
    return path.open("a+b", buffering=0)


def _append_whole(file: BinaryIO, data: bytes) -> int:
    """Append all of `data` or nothing; the position it begins at."""
    start = os.fstat(file.fileno()).st_size
    if file.write(data) != len(data):
        os.ftruncate(file.fileno(), start)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return start
