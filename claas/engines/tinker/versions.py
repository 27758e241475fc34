"""Versions on record: which checkpoints at the service are which version of which adapter, and which nobody needs."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from claas.core.checks import adapter_id, served_name
from claas.core.errors import NotFound, StackError
from claas.core.files import dump_json, sync_directory, write_atomically, writing
from claas.engines.base import Weights
from claas.engines.model_files import CONFIG, WEIGHTS
from claas.engines.store import require_new

_DELETED = ".deleted-"
_UNNEEDED = "unneeded.json"


class VersionRecord(BaseModel):
    """One version: where the service has it, what made it, and the receipt of the update that did.

    `state_path` holds weights and optimiser, `sampler_path` the weights to answer with. `key` is the update's
    idempotency key, None at version 0. `kept` is False once the checkpoints were given up; the receipt stays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    lora_id: str
    version: int
    state_path: str
    sampler_path: str
    base_model: str
    rank: int
    key: str | None
    metrics: Mapping[str, float]
    timing_ms: Mapping[str, float]
    created: str
    kept: bool = True

    @property
    def weights(self) -> Weights:
        """The identity that replies carry; the digest is that of the checkpoint's path, which is used once."""
        return Weights(self.lora_id, self.version, digest_of(self.sampler_path), self.base_model)

    @property
    def paths(self) -> tuple[str, str]:
        """Both checkpoints."""
        return (self.state_path, self.sampler_path)


def digest_of(path: str) -> str:
    """sha256 of what names weights that are out of reach."""
    return hashlib.sha256(path.encode()).hexdigest()


class VersionStore:
    """`<root>/<served name>/<version, six digits>.json`, each written whole; and `<root>/unneeded.json`.

    A checkpoint is put on the list of unneeded ones before the service is asked to make it, and taken off when its
    version is on record; so a crash leaves nothing at the service that is not on one of the two.
    """

    def __init__(self, root: Path) -> None:
        """Open `root` and index what is there."""
        self._root = root
        self._adapters: dict[str, dict[int, VersionRecord]] = {}
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            for directory in [path for path in root.iterdir() if path.name.startswith(_DELETED)]:
                shutil.rmtree(directory)
        for path in sorted(root.glob("*/[0-9]*.json")):
            record = _read(path)
            self._adapters.setdefault(record.lora_id, {})[record.version] = record
        self._unneeded = _read_paths(root / _UNNEEDED)
        self.needed(path for each in self._adapters.values() for one in each.values() if one.kept for path in one.paths)

    def adapters(self) -> list[str]:
        """The ids of all adapters, sorted."""
        return sorted(self._adapters)

    def versions(self, lora_id: str) -> list[VersionRecord]:
        """All versions of an adapter, oldest first, given up ones too. Raises `NotFound`."""
        versions = self._adapters.get(adapter_id(lora_id))
        if versions is None:
            raise NotFound(f"no adapter {lora_id!r}")
        return [versions[number] for number in sorted(versions)]

    def get(self, lora_id: str, version: int | None = None) -> VersionRecord:
        """One version of an adapter that is still at the service, or its newest. Raises `NotFound`."""
        versions = self.versions(lora_id)
        wanted = versions[-1].version if version is None else version
        for record in versions:
            if record.version == wanted:
                if not record.kept:
                    raise NotFound(f"version {wanted} of adapter {lora_id!r} was given up: keep_versions is 'last'")
                return record
        raise NotFound(f"adapter {lora_id!r} has no version {wanted}; its newest is {versions[-1].version}")

    def require_new(self, lora_id: str) -> None:
        """Raise `Conflict` where `lora_id`, or another id with its served name, exists."""
        require_new(lora_id, self.adapters())

    def commit(self, record: VersionRecord) -> None:
        """Put a version on record, in one step; its checkpoints are needed from then on."""
        write_atomically(self._path(record), record.model_dump_json(indent=2))
        self._adapters.setdefault(record.lora_id, {})[record.version] = record
        self.needed(record.paths)

    def give_up(self, record: VersionRecord) -> None:
        """Need a version's checkpoints no longer; its receipt stays on record."""
        self.unneeded(record.paths)
        self._adapters[record.lora_id][record.version] = given_up = record.model_copy(update={"kept": False})
        write_atomically(self._path(record), given_up.model_dump_json(indent=2))

    def delete(self, lora_id: str) -> bool:
        """Forget an adapter, whose checkpoints are unneeded from then on; False when there was none."""
        versions = self._adapters.get(adapter_id(lora_id))
        if versions is None:
            return False
        home = self._root / served_name(lora_id)
        doomed = home.with_name(f"{_DELETED}{home.name}")
        self.unneeded(path for record in versions.values() if record.kept for path in record.paths)
        with writing(home):
            shutil.rmtree(doomed, ignore_errors=True)
            home.rename(doomed)
            sync_directory(self._root)
        del self._adapters[lora_id]
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    def all_unneeded(self) -> list[str]:
        """Paths of checkpoints that may exist at the service and that nothing needs."""
        return list(self._unneeded)

    def unneeded(self, paths: Iterable[str]) -> None:
        """Put paths on the list."""
        self._write_unneeded([*self._unneeded, *(path for path in paths if path not in self._unneeded)])

    def needed(self, paths: Iterable[str]) -> None:
        """Take paths off the list: they are needed, or gone."""
        off = set(paths)
        if off.intersection(self._unneeded):
            self._write_unneeded([path for path in self._unneeded if path not in off])

    def _write_unneeded(self, paths: list[str]) -> None:
        write_atomically(self._root / _UNNEEDED, dump_json(paths, indent=2))
        self._unneeded = paths

    def _path(self, record: VersionRecord) -> Path:
        return self._root / served_name(record.lora_id) / f"{record.version:06d}.json"


def _read(path: Path) -> VersionRecord:
    try:
        return VersionRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StackError(f"{path} cannot be read: {error}; restore it, or delete that adapter's directory") from error


def _read_paths(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        paths = json.loads(path.read_bytes())
    except ValueError as error:
        raise StackError(f"{path} cannot be read: {error}; restore it, or delete it") from error
    if not isinstance(paths, list) or not all(isinstance(each, str) for each in cast(list[object], paths)):
        raise StackError(f"{path} must be a list of paths; restore it, or delete it")
    return cast(list[str], paths)


_MODULE = re.compile(r"\.([^.]+)\.lora_[AB]\.")


def complete(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The two files of an adapter. Raises `StackError` where one is missing or unreadable.

    Where the configuration names no modules, those of the weights are put in: PEFT would guess some, load these, and
    leave out the others without a word.
    """
    if missing := [name for name in (CONFIG, WEIGHTS) if name not in files]:
        raise StackError(f"Tinker exported {', '.join(files) or 'nothing'}, without {' and '.join(missing)}")
    try:
        config: Any = json.loads(files[CONFIG])
        names = _tensor_names(files[WEIGHTS])
    except ValueError as error:
        raise StackError(f"Tinker exported an adapter that cannot be read: {error}") from error
    if config.get("target_modules"):
        return {name: files[name] for name in (CONFIG, WEIGHTS)}
    modules = sorted({found[1] for name in names if (found := _MODULE.search(name))})
    config = {**config, "target_modules": modules}
    return {CONFIG: dump_json(config, indent=2).encode(), WEIGHTS: files[WEIGHTS]}


def _tensor_names(data: bytes) -> list[str]:
    """The names in the header of a safetensors file: its length in eight bytes, then that much JSON."""
    header = cast("dict[str, Any]", json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]))
    return [name for name in header if name != "__metadata__"]
