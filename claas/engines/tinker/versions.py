"""The Tinker engine's versions: which checkpoints at the service they are, which checkpoints nobody needs any more.

And what is exported of them, made complete for PEFT.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from claas.core.checks import adapter_id
from claas.core.errors import Conflict, NotFound, StackError
from claas.core.files import dump_json, read_bytes, set_aside, write_atomically
from claas.engines.store import ADAPTER_CONFIG, ADAPTER_WEIGHTS, StoredVersion, VersionStore
from claas.engines.types import Weights

_UNNEEDED = "unneeded.json"
_log = logging.getLogger(__name__)
_MODULE = re.compile(r"\.([^.]+)\.lora_[AB]\.")


class TinkerVersion(StoredVersion):
    """Where the service has one version: weights and optimiser at `state_path`, to answer with at `sampler_path`.

    `kept` is False once these checkpoints were given up; the receipt stays. `seed` is that of version 0, else None, and
    `source` the checkpoint that it was imported from.
    """

    state_path: str
    sampler_path: str
    kept: bool = True
    seed: int | None = None
    source: str | None = None

    @property
    def weights(self) -> Weights:
        """The identity that replies carry; the digest is that of the checkpoint's path, which is used once."""
        return Weights(self.lora_id, self.version, digest_of(self.sampler_path), self.base_model)

    @property
    def paths(self) -> tuple[str, str]:
        """Both checkpoints."""
        return (self.state_path, self.sampler_path)

    def require_base(self, base: Weights) -> None:
        """Raise `Conflict` where the version was trained on another model than `base`, which runs."""
        if self.base_model != base.base_model:
            raise Conflict(
                f"{self.weights.name} was trained on {self.base_model!r}, not on the running base model "
                f"{base.base_model!r}"
            )


def digest_of(path: str) -> str:
    """sha256 of what names weights that are out of reach."""
    return hashlib.sha256(path.encode()).hexdigest()


class TinkerStore(VersionStore[TinkerVersion]):
    """`<root>/<served name>/<version, six digits>.json`, each written whole; and `<root>/unneeded.json`.

    A checkpoint is put on the list of unneeded ones before the service is asked to make it, and taken off when its
    version is on record; so a crash leaves nothing at the service that is not on one of the two.
    """

    def __init__(self, root: Path) -> None:
        """Open `root` and index what is there."""
        super().__init__(root, TinkerVersion)
        self._unneeded = _read_paths(root / _UNNEEDED)
        records = (record for lora_id in self.adapters() for record in self.versions(lora_id))
        self.needed(path for record in records if record.kept for path in record.paths)

    def get(self, lora_id: str, version: int | None = None) -> TinkerVersion:
        """One version of an adapter that is still at the service, or its newest. Raises `NotFound`."""
        record = super().get(lora_id, version)
        if not record.kept:
            raise NotFound(f"version {record.version} of adapter {lora_id!r} was given up: keep_versions is 'last'")
        return record

    def commit(self, record: TinkerVersion) -> None:
        """Record a version, atomically; its checkpoints are needed from then on."""
        self._write(record)
        self.needed(record.paths)

    def give_up(self, record: TinkerVersion) -> None:
        """Mark a version's checkpoints as unneeded; its receipt stays on record."""
        self.unneeded(record.paths)
        self._write(record.model_copy(update={"kept": False}))

    def delete(self, lora_id: str) -> bool:
        """Remove an adapter, whose checkpoints are unneeded from then on; False when there was none."""
        if adapter_id(lora_id) in self.adapters():
            self.unneeded(path for record in self.versions(lora_id) if record.kept for path in record.paths)
        return super().delete(lora_id)

    def all_unneeded(self) -> list[str]:
        """Paths of checkpoints that may exist at the service and that nothing needs."""
        return list(self._unneeded)

    def unneeded(self, paths: Iterable[str]) -> None:
        """Add paths to the list of unneeded checkpoints."""
        self._write_unneeded([*self._unneeded, *(path for path in paths if path not in self._unneeded)])

    def needed(self, paths: Iterable[str]) -> None:
        """Remove paths from the list: they are needed, or gone."""
        off = set(paths)
        if off.intersection(self._unneeded):
            self._write_unneeded([path for path in self._unneeded if path not in off])

    def _write_unneeded(self, paths: list[str]) -> None:
        write_atomically(self._root / _UNNEEDED, dump_json(paths, indent=2))
        self._unneeded = paths

    def _write(self, record: TinkerVersion) -> None:
        write_atomically(self._path(self._home(record.lora_id), record.version), record.model_dump_json(indent=2))
        self._index(record)

    def _path(self, home: Path, version: int) -> Path:
        return home / f"{version:06d}.json"


_PATHS = TypeAdapter(list[str])


def _read_paths(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        return _PATHS.validate_json(read_bytes(path))
    except (OSError, ValidationError):
        aside = set_aside(path)
        _log.warning("%s is no list of paths and was moved to %s; the checkpoints on it stay at Tinker", path, aside)
        return []


def complete(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The two files of an adapter. Raises `StackError` where one is missing or unreadable.

    Where the configuration names no modules, those of the weights are put in: PEFT would guess some, load these, and
    leave out the others without a word.
    """
    if missing := [name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if name not in files]:
        raise StackError(f"Tinker exported {', '.join(files) or 'nothing'}, without {' and '.join(missing)}")
    try:
        config: Any = json.loads(files[ADAPTER_CONFIG])
        names = _tensor_names(files[ADAPTER_WEIGHTS])
    except ValueError as error:
        raise StackError(f"Tinker exported an adapter that cannot be read: {error}") from error
    if config.get("target_modules"):
        return {name: files[name] for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
    modules = sorted({found[1] for name in names if (found := _MODULE.search(name))})
    config = {**config, "target_modules": modules}
    return {ADAPTER_CONFIG: dump_json(config, indent=2).encode(), ADAPTER_WEIGHTS: files[ADAPTER_WEIGHTS]}


def _tensor_names(data: bytes) -> list[str]:
    """The names in the header of a safetensors file: its length in eight bytes, then that much JSON."""
    header = cast("dict[str, Any]", json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))
    return [name for name in header if name != "__metadata__"]
