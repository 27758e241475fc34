"""The version store: adapters on disk, each a chain of immutable versions, indexed in memory."""

import asyncio
import logging
import re
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from claas.core.checks import adapter_id, served_name, versioned_name
from claas.core.errors import Conflict, InvalidInput, NotFound, StackError
from claas.core.files import read_bytes, read_text, sync, write_atomically, writing
from claas.core.text import quoted
from claas.engines.types import Update, Weights

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""The two files of an adapter in PEFT's format."""

STAGED = ".staged-"
"""The prefix of files and folders that are still being written."""

_DELETED = ".deleted-"
_NUMBERED = re.compile(r"([0-9]{6,})(?:\.json)?")
_log = logging.getLogger(__name__)


def recorded_date(root: Path) -> date:
    """The date given to chat templates for the lifetime of the store at `root`: the day it was first opened."""
    path = root / "date"
    if not path.exists():
        write_atomically(path, f"{datetime.now(UTC).date()}\n")
    try:
        return date.fromisoformat(read_text(path).strip())
    except ValueError as error:
        raise InvalidInput(
            f"{path} holds no date such as 2026-11-29; write into it the date that chat templates are to be given"
        ) from error


class StoredVersion(BaseModel):
    """The record of one version, with the receipt of the update that made it.

    `key` is that update's idempotency key, None at version 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    schema_version: int = 1
    lora_id: str
    version: int
    base_model: str
    rank: int
    key: str | None
    metrics: Mapping[str, float]
    timing_ms: Mapping[str, float]
    created: str

    @property
    @abstractmethod
    def weights(self) -> Weights:
        """The identity of its weights, as replies name it."""

    @abstractmethod
    def require_base(self, base: Weights) -> None:
        """Raise `Conflict` where the version was trained on a base model other than `base`, the one running."""

    def receipt(self, *, replayed: bool = False) -> Update:
        """The receipt of the update that made this version."""
        return Update(self.weights, self.metrics, self.timing_ms, replayed)


V = TypeVar("V", bound=StoredVersion)


class VersionStore(ABC, Generic[V]):
    """The versions under `<root>/<served name>/`, written by one engine: each is complete and never changes.

    Reading the index is cheap (it is in memory) and safe from any thread.
    """

    def __init__(self, root: Path, kind: type[V], persist: Callable[[], None] = lambda: None) -> None:
        """Open `root`, remove what a crash left half-written, and index the records, which are of class `kind`.

        An adapter with an unreadable record is left as it is and logged: it is not listed, its name stays taken, using
        it raises `StackError`, and it can be deleted.

        `persist` makes writes durable where the file system alone does not (a network volume). An adapter's files are
        removed only after it has returned.
        """
        self._root = root
        self._kind = kind
        self._persist = persist
        self._lock = threading.Lock()
        self._adapters: dict[str, dict[int, V]] = {}
        self._unreadable: dict[str, str] = {}
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            for home in sorted(path for path in root.iterdir() if path.is_dir()):
                if home.name.startswith(_DELETED):
                    shutil.rmtree(home, ignore_errors=True)
                elif not home.name.startswith("."):
                    self._recover(home)

    def adapters(self) -> list[str]:
        """The ids of all adapters, sorted."""
        with self._lock:
            return sorted(self._adapters)

    def versions(self, lora_id: str) -> list[V]:
        """All versions of an adapter, oldest first. Raises `NotFound`."""
        with self._lock:
            versions = self._adapters.get(adapter_id(lora_id))
            if versions is None and (damage := self._unreadable.get(served_name(lora_id))):
                raise StackError(damage)
            if versions is None:
                raise NotFound(f"no adapter {lora_id!r}")
            return [versions[number] for number in sorted(versions)]

    def get(self, lora_id: str, version: int | None = None) -> V:
        """One version of an adapter, or its newest. Raises `NotFound`."""
        versions = self.versions(lora_id)
        if version is None:
            return versions[-1]
        for record in versions:
            if record.version == version:
                return record
        raise NotFound(f"adapter {lora_id!r} has no version {version}; its newest is {versions[-1].version}")

    def exactly(self, weights: Weights) -> V:
        """The version that `weights` name. Raises `Conflict` where that name now belongs to other weights."""
        assert weights.lora_id is not None, "the base model is no version of an adapter"
        record = self.get(weights.lora_id, weights.version)
        if record.weights.digest != weights.digest:
            raise Conflict(f"{weights.name} is no longer what it was: its adapter was deleted and made again")
        return record

    def made_by(self, lora_id: str, key: str) -> V | None:
        """The version that the update with this idempotency key made; None where it made none. Raises `NotFound`."""
        return next((record for record in self.versions(lora_id) if record.key == key), None)

    def untrained(self, lora_id: str) -> V | None:
        """Version 0 of an adapter that has no other version; None where there is none."""
        with self._lock:
            versions = self._adapters.get(adapter_id(lora_id), {})
            return versions.get(0) if len(versions) == 1 else None

    def require_new(self, lora_id: str) -> None:
        """Raise `Conflict` where `lora_id`, or another id with its served name, exists."""
        name = served_name(adapter_id(lora_id))
        if damage := self._unreadable.get(name):
            raise Conflict(f"adapter {lora_id!r} exists already: {damage}")
        for known in self.adapters():
            if known == lora_id:
                raise Conflict(f"adapter {lora_id!r} exists already; delete it first or choose another id")
            if served_name(known) == name:
                raise Conflict(f"adapter {lora_id!r} would be served as {name!r}, which is adapter {known!r}")

    def delete(self, lora_id: str) -> bool:
        """Remove an adapter and all its versions; False when there was none."""
        home = self._home(lora_id)
        with self._lock:
            if lora_id not in self._adapters and home.name not in self._unreadable:
                return False
        doomed = home.with_name(f"{_DELETED}{home.name}")
        with writing(home):
            shutil.rmtree(doomed, ignore_errors=True)
            home.rename(doomed)
            sync(self._root)
        with self._lock:  # which nobody has to wait for while the disk is slow
            self._adapters.pop(lora_id, None)
            self._unreadable.pop(home.name, None)
        self._persist()
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    @abstractmethod
    def _path(self, home: Path, version: int) -> Path:
        """The file that records a version of the adapter whose directory is `home`."""

    def _home(self, lora_id: str) -> Path:
        return self._root / served_name(adapter_id(lora_id))

    def _index(self, record: V) -> None:
        """Add a version that is on disk to the index."""
        with self._lock:
            self._adapters.setdefault(record.lora_id, {})[record.version] = record

    def _recover(self, home: Path) -> None:
        for left in home.glob(f"{STAGED}*"):
            shutil.rmtree(left, ignore_errors=True)
        numbered = filter(None, (_NUMBERED.fullmatch(path.name) for path in home.iterdir()))
        try:
            records = [self._read(home, int(match[1])) for match in numbered]
        except StackError as error:
            self._unreadable[home.name] = str(error)
            _log.warning("%s", error)
            return
        for record in records:
            self._index(record)
        if not any(home.iterdir()):
            home.rmdir()

    def _read(self, home: Path, number: int) -> V:
        path = self._path(home, number)
        try:
            record = self._kind.model_validate_json(read_bytes(path))
            if (served_name(adapter_id(record.lora_id)), record.version) != (home.name, number):
                raise InvalidInput(f"it is the record of {versioned_name(record.lora_id, record.version)}")
        except (OSError, ValueError) as error:
            reason = quoted(" ".join(str(error).split()), 300)
            raise StackError(f"{path} cannot be read: {reason}; restore it, or delete that adapter") from error
        return record


class AdapterLocks:
    """A lock per adapter."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def holding(self, lora_id: str) -> AsyncGenerator[None]:
        """Hold an adapter's lock. Raises `Conflict` on a timeout."""
        lock = self._locks.setdefault(adapter_id(lora_id), asyncio.Lock())
        try:
            async with asyncio.timeout(self._timeout_s):
                await lock.acquire()
        except TimeoutError:
            raise Conflict(
                f"adapter {lora_id!r} is being updated; its lock was not free within {self._timeout_s:g} s"
            ) from None
        try:
            yield
        finally:
            lock.release()


def write_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into a new `directory`, atomically."""
    staged = directory.with_name(f"{STAGED}{directory.name}")
    with writing(directory):
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for name, data in files.items():
            (staged / name).write_bytes(data)
        staged.rename(directory)
        sync(directory.parent)
