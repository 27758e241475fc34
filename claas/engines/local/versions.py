"""The local engine's versions: immutable directories, and a cache of recently used ones in memory."""

import asyncio
import hashlib
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from claas.core.errors import Conflict, StackError
from claas.core.files import read_bytes, sync, writing
from claas.engines.local.linear import ModelWeights
from claas.engines.local.lora import LoraShape, base_weights, from_bytes, prepared
from claas.engines.local.model import LoadedModel
from claas.engines.local.threads import answering
from claas.engines.store import ADAPTER_WEIGHTS, STAGED, StoredVersion, VersionStore
from claas.engines.types import Weights

OPTIMIZER = "optimizer.safetensors"

_RECORD = "version.json"
_STORED_OPTIMIZERS = 2
_CACHED_ADAPTERS = 6


class LocalVersion(StoredVersion):
    """The content of `version.json`. `digest` and `optimizer_digest` are the sha256 of the files next to it."""

    digest: str
    optimizer_digest: str | None
    base_digest: str
    alpha: int
    target_modules: tuple[str, ...]
    rslora: bool = False

    @property
    def weights(self) -> Weights:
        """The identity of its weights, as replies name it."""
        return Weights(self.lora_id, self.version, self.digest, self.base_model)

    @property
    def shape(self) -> LoraShape:
        """The shape of the adapter."""
        return LoraShape(self.rank, self.alpha, self.target_modules, self.rslora)

    def require_base(self, base: Weights) -> None:
        """Raise `Conflict` if the version was trained on weights other than those of `base`, the one running."""
        if self.base_digest != base.digest:
            raise Conflict(
                f"{self.weights.name} was trained on other weights of {self.base_model!r} than the running base model "
                f"{base.base_model!r} has"
            )


class Staging:
    """A version's directory while it is being written."""

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


class LocalStore(VersionStore[LocalVersion]):
    """`<root>/<served name>/<version, six digits>/`: the adapter in PEFT's format, its optimiser, and its record."""

    def __init__(self, root: Path, persist: Callable[[], None] = lambda: None) -> None:
        """Open `root`. No version is known before `persist` has returned; what it raises undoes the version."""
        super().__init__(root, LocalVersion, persist)

    @contextmanager
    def staging(self, lora_id: str) -> Generator[Staging]:
        """A place to write the next version's files to; what `commit` has not taken over is removed."""
        directory = self._staged(lora_id)
        with writing(directory):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        try:
            yield Staging(directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def commit(self, record: LocalVersion) -> None:
        """Turn the staged directory into version `record.version`, atomically."""
        staged, final = self._staged(record.lora_id), self.directory(record)
        Staging(staged).write(_RECORD, record.model_dump_json(indent=2).encode())
        with ExitStack() as on_failure:
            on_failure.callback(shutil.rmtree, final, ignore_errors=True)
            with writing(final):
                sync(staged)
                staged.rename(final)
                sync(final.parent)
                sync(self._root)
            self._persist()
            on_failure.pop_all()
        self._index(record)
        outdated = self._path(final.parent, record.version - _STORED_OPTIMIZERS).with_name(OPTIMIZER)
        outdated.unlink(missing_ok=True)

    def read_adapter(self, record: LocalVersion) -> bytes:
        """The adapter's file, checked against its digest. Raises `StackError` if it was changed."""
        return self._read_file(record, ADAPTER_WEIGHTS, record.digest)

    def read_optimizer(self, record: LocalVersion) -> bytes | None:
        """The optimiser's file; None before the first update."""
        if record.optimizer_digest is None:
            return None
        return self._read_file(record, OPTIMIZER, record.optimizer_digest)

    def directory(self, record: LocalVersion) -> Path:
        """The directory of a version."""
        return self._path(self._home(record.lora_id), record.version).parent

    def _path(self, home: Path, version: int) -> Path:
        return home / f"{version:06d}" / _RECORD

    def _staged(self, lora_id: str) -> Path:
        return self._home(lora_id) / f"{STAGED}version"

    def _read_file(self, record: LocalVersion, name: str, digest: str) -> bytes:
        path = self.directory(record) / name
        try:
            data = read_bytes(path)
        except FileNotFoundError as error:
            raise StackError(f"{path} is missing, so {record.weights.name} cannot be used") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StackError(
                f"{path} is corrupt: its sha256 is not the one recorded when it was written. Restore it, or delete "
                f"adapter {record.lora_id!r}"
            )
        return data


class AdapterCache:
    """Versions in memory: loaded from the store, checked against their digest; the most recently used are kept."""

    def __init__(self, base: LoadedModel, store: LocalStore) -> None:
        self._base = base
        self._store = store
        self._loading = asyncio.Lock()
        self._ready: OrderedDict[tuple[str, int, str], ModelWeights] = OrderedDict()
        self.of_base = base_weights(base)

    async def get(self, weights: Weights) -> ModelWeights:
        """Exactly the named weights, whatever has happened to the adapter's id since; read from disk in a thread."""
        if weights.lora_id is None:
            return self.of_base
        key = (weights.lora_id, weights.version, weights.digest)
        ready = self._ready.get(key)
        if ready is None:
            async with self._loading:  # all who ask for a new version wait for the first of them to load it
                ready = self._ready.get(key) or await asyncio.to_thread(self._load, weights)
                self._ready[key] = ready
                while len(self._ready) > _CACHED_ADAPTERS:
                    self._ready.popitem(last=False)
        self._ready.move_to_end(key)
        return ready

    def clear(self) -> None:
        """Empty the cache."""
        self._ready.clear()

    def _load(self, weights: Weights) -> ModelWeights:
        with answering(f"loading {weights.name}"):
            record = self._store.exactly(weights)
            record.require_base(self._base.weights)
            tensors = from_bytes(self._store.read_adapter(record))
            return prepared(record.shape, tensors, self._base, self.of_base)
