"""Adapter versions on disk: directories written once, under one root, by one engine."""

import asyncio
import hashlib
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from claas.core.checks import adapter_id, served_name
from claas.core.errors import Conflict, NotFound, StackError
from claas.core.files import sync_directory, writing
from claas.engines.base import Weights
from claas.engines.local.linear import ModelWeights, linear_op
from claas.engines.local.lora import LoraShape, base_weights, from_bytes, prepared
from claas.engines.local.model import LoadedModel, matrix_of, output_head
from claas.engines.store import require_new

ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
OPTIMIZER = "optimizer.safetensors"
VERSION = "version.json"

_STAGED = ".staged-"
_DELETED = ".deleted-"
_KEPT_OPTIMIZERS = 2


class VersionRecord(BaseModel):
    """What `version.json` says: which weights, what made them, and the receipt of the update that did.

    `digest` and `optimizer_digest` are the sha256 of the files; `key` is the update's idempotency key, None at
    version 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    lora_id: str
    version: int
    digest: str
    optimizer_digest: str | None
    base_model: str
    base_digest: str
    rank: int
    alpha: int
    target_modules: tuple[str, ...]
    key: str | None
    metrics: Mapping[str, float]
    timing_ms: Mapping[str, float]
    created: str

    @property
    def weights(self) -> Weights:
        """The identity that replies carry."""
        return Weights(self.lora_id, self.version, self.digest, self.base_model)


class Staging:
    """A version directory in the making."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, name: str, data: bytes) -> str:
        """Write one file durably; returns its sha256."""
        path = self._directory / name
        with writing(path), path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return hashlib.sha256(data).hexdigest()


class VersionStore:
    """`<root>/<served name>/<version, six digits>/`. What is committed is whole, survives a crash and never changes.

    Reading the index is cheap (it is in memory) and safe from any thread.
    """

    def __init__(self, root: Path, persist: Callable[[], None] | None = None) -> None:
        """Open `root`, clear what a crash left half-made, and index the rest.

        `persist` makes durable what was written, where the file system alone does not (a network volume). No version is
        known, nor an adapter gone, before it has returned; what it raises undoes the version.
        """
        self._root = root
        self._persist = persist or _nothing
        self._lock = threading.Lock()
        self._adapters: dict[str, dict[int, VersionRecord]] = {}
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            for directory in sorted(path for path in root.iterdir() if path.is_dir()):
                self._recover(directory)

    def adapters(self) -> list[str]:
        """The ids of all adapters, sorted."""
        with self._lock:
            return sorted(self._adapters)

    def versions(self, lora_id: str) -> list[VersionRecord]:
        """All versions of an adapter, oldest first. Raises `NotFound`."""
        with self._lock:
            versions = self._adapters.get(adapter_id(lora_id))
            if versions is None:
                raise NotFound(f"no adapter {lora_id!r}")
            return [versions[number] for number in sorted(versions)]

    def get(self, lora_id: str, version: int | None = None) -> VersionRecord:
        """One version of an adapter, or its newest. Raises `NotFound`."""
        versions = self.versions(lora_id)
        if version is None:
            return versions[-1]
        for record in versions:
            if record.version == version:
                return record
        raise NotFound(f"adapter {lora_id!r} has no version {version}; its newest is {versions[-1].version}")

    def require_new(self, lora_id: str) -> None:
        """Raise `Conflict` where `lora_id`, or another id with its served name, exists."""
        require_new(lora_id, self.adapters())

    @contextmanager
    def staging(self, lora_id: str) -> Generator[Staging]:
        """A place to write the next version's files to; what `commit` has not taken over is removed."""
        directory = self._directory(lora_id) / f"{_STAGED}version"
        with writing(directory):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        try:
            yield Staging(directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def commit(self, record: VersionRecord) -> None:
        """Make the staged directory `record.version`, in one step."""
        home = self._directory(record.lora_id)
        staged, final = home / f"{_STAGED}version", home / _number(record.version)
        Staging(staged).write(VERSION, record.model_dump_json(indent=2).encode())
        with writing(final):
            sync_directory(staged)
            staged.rename(final)
            sync_directory(home)
            sync_directory(self._root)
        with ExitStack() as on_failure:
            on_failure.callback(shutil.rmtree, final, ignore_errors=True)
            self._persist()
            on_failure.pop_all()
        with self._lock:
            versions = self._adapters.setdefault(record.lora_id, {})
            versions[record.version] = record
        (home / _number(record.version - _KEPT_OPTIMIZERS) / OPTIMIZER).unlink(missing_ok=True)

    def read_adapter(self, record: VersionRecord) -> bytes:
        """The adapter's file, known to be what was written. Raises `StackError` where it is not."""
        return self._read(record, ADAPTER, record.digest)

    def read_optimizer(self, record: VersionRecord) -> bytes | None:
        """The optimiser's file; None before the first update."""
        if record.optimizer_digest is None:
            return None
        return self._read(record, OPTIMIZER, record.optimizer_digest)

    def directory(self, record: VersionRecord) -> Path:
        """Where a version is."""
        return self._directory(record.lora_id) / _number(record.version)

    def delete(self, lora_id: str) -> bool:
        """Remove an adapter; False when there was none."""
        with self._lock:
            if self._adapters.pop(adapter_id(lora_id), None) is None:
                return False
            home = self._directory(lora_id)
            doomed = home.with_name(f"{_DELETED}{home.name}")
            with writing(home):
                shutil.rmtree(doomed, ignore_errors=True)
                home.rename(doomed)
                sync_directory(self._root)
        self._persist()
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    def _directory(self, lora_id: str) -> Path:
        return self._root / served_name(adapter_id(lora_id))

    def _read(self, record: VersionRecord, name: str, digest: str) -> bytes:
        path = self.directory(record) / name
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise StackError(f"{path} is missing, so {record.weights.name} cannot be used") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StackError(
                f"{path} is corrupt: its sha256 is not the one recorded when it was written. Restore it, or delete "
                f"adapter {record.lora_id!r}"
            )
        return data

    def _recover(self, directory: Path) -> None:
        if directory.name.startswith(_DELETED):
            shutil.rmtree(directory)
            return
        for path in directory.iterdir():
            if path.name.startswith(_STAGED):
                shutil.rmtree(path)
            elif path.name.isdigit():
                record = _read_record(path / VERSION)
                self._adapters.setdefault(record.lora_id, {})[record.version] = record
        if not any(directory.iterdir()):
            directory.rmdir()


def _nothing() -> None:
    return None


def _read_record(path: Path) -> VersionRecord:
    try:
        return VersionRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StackError(f"{path} cannot be read: {error}; restore it, or delete that adapter's directory") from error


def _number(version: int) -> str:
    return f"{version:06d}"


_KEPT = 12


class Adapters:
    """Loads versions from the store, checked against their digest, and keeps the most recently used ones."""

    def __init__(self, base: LoadedModel, store: VersionStore) -> None:
        self._base = base
        self._store = store
        self._loading = asyncio.Lock()
        self._ready: OrderedDict[tuple[str, int, str], ModelWeights] = OrderedDict()
        self._base_ready = base_weights(base.model, pack=base.small)
        self.head = linear_op(*matrix_of(output_head(base.model)), pack=base.small)

    async def get(self, weights: Weights) -> ModelWeights:
        """Exactly the weights named, whatever has happened to the adapter's id since; read from disk in a thread."""
        if weights.lora_id is None:
            return self._base_ready
        key = (weights.lora_id, weights.version, weights.digest)
        ready = self._ready.get(key)
        if ready is None:
            async with self._loading:  # all who ask for a new version wait for the first of them to load it
                ready = self._ready.get(key) or await asyncio.to_thread(self._load, weights.lora_id, weights)
                self._ready[key] = ready
                while len(self._ready) > _KEPT:
                    self._ready.popitem(last=False)
        self._ready.move_to_end(key)
        return ready

    def _load(self, lora_id: str, weights: Weights) -> ModelWeights:
        record = self._store.get(lora_id, weights.version)
        require_same(record, weights, self._base)
        shape = LoraShape(record.rank, record.alpha, record.target_modules)
        tensors = from_bytes(self._store.read_adapter(record))
        return prepared(shape, tensors, self._base.model, self._base_ready, merge=self._base.small)


def require_same(record: VersionRecord, weights: Weights, base: LoadedModel) -> None:
    """Raise `Conflict` where the stored version is not the one asked for, or was trained on another base model."""
    if record.digest != weights.digest:
        raise Conflict(f"{weights.name} is no longer what it was: its adapter was deleted and made again")
    require_base(record, base)


def require_base(record: VersionRecord, base: LoadedModel) -> None:
    """Raise `Conflict` where the version was trained on another base model than the one that runs."""
    if record.base_digest != base.weights.digest:
        raise Conflict(
            f"{record.weights.name} was trained on other weights of {record.base_model!r} than the running base model "
            f"{base.weights.base_model!r} has"
        )
