"""Adapters that are files: a folder in PEFT's format, here or at the Hugging Face hub."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from claas.core.checks import name_and_version, served_name, versioned_name
from claas.core.errors import InvalidInput, MissingExtra
from claas.core.files import read_bytes, sha256_of
from claas.core.settings import EMBEDDED
from claas.core.text import one_line
from claas.models.sources import has_files, model_source
from claas.tiny import WEIGHTS_DIR

ADAPTER_CONFIG, ADAPTER_WEIGHTS, _RECORD = "adapter_config.json", "adapter_model.safetensors", "version.json"
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")
TEXT_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
"""Where a model's config and tokenizer are, of which each hub id has some."""
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class _Record(BaseModel):
    """What our own exports tell of where they come from."""

    model_config = ConfigDict(extra="ignore")

    base_model: str
    base_digest: str


@dataclass(frozen=True)
class PeftFolder:
    """An adapter under the name by which it was asked for, and the folder that has its files."""

    name: str
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What adapter_config.json holds."""
        try:
            found = from_json(read_bytes(self.folder / ADAPTER_CONFIG))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{self.name}: {ADAPTER_CONFIG} cannot be read: {one_line(error)}") from error
        if not isinstance(found, dict):
            raise InvalidInput(f"{self.name}: {ADAPTER_CONFIG} is no JSON object")
        return cast(dict[str, Any], found)

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.folder / ADAPTER_WEIGHTS

    @cached_property
    def digest(self) -> str:
        """Of what is in both files, wherever they lie."""
        config = json.dumps(self.config, sort_keys=True)
        return hashlib.sha256(f"{sha256_of(self.weights)} {config}".encode()).hexdigest()

    @property
    def lora_id(self) -> str:
        """The id under which these very files are kept, whatever else has their name."""
        name = _NO_NAME.sub("-", self.folder.name if self.is_local else self.name.rpartition("/")[2])
        return f"{name.strip('.-_')[:100] or 'adapter'}-{self.digest[:12]}"

    @property
    def version(self) -> str:
        """The name of these very weights: `eval-concise@20`, or where they are somebody else's their first version."""
        is_ours = "@" in self.name and not self.is_local
        return versioned_name(*_version(self.name)) if is_ours else versioned_name(self.lora_id, 0)

    @property
    def is_local(self) -> bool:
        """Whether it was asked for by its folder."""
        return is_adapter_folder(self.name)

    @property
    def tokenizer(self) -> Path | None:
        """The folder, where it brings a tokenizer."""
        return self.folder if any((self.folder / name).is_file() for name in _TOKENIZER_FILES) else None

    def doubt(self, base_model: str, base_digest: str | None) -> str | None:
        """What is to be said of it on this base model, whose digest may be unknown; None where all is well.

        `InvalidInput` where it is known to have been trained on other weights. Two names may be one model: whether its
        layers fit is for whoever loads it to say.
        """
        record = self._record()
        trained_on = self.config.get("base_model_name_or_path") if record is None else record.base_model
        if record is not None and record.base_digest == base_digest:
            return None
        if record is not None and record.base_model == base_model and base_digest is not None:
            raise InvalidInput(f"{self.name} is refused: it was trained on other weights of {base_model!r}")
        if trained_on is None or _same_model(str(trained_on), base_model):
            return None
        return (
            f"{self.name} was trained on {trained_on!r}, and this base is {base_model!r}; its layers fit, so it is run"
        )

    def _record(self) -> _Record | None:
        path = self.folder / _RECORD
        try:
            return _Record.model_validate_json(read_bytes(path)) if path.is_file() else None
        except ValidationError:
            return None  # somebody else's file of that name


def is_path(name: str) -> bool:
    """Whether this is the name of a folder, not of an adapter at an API or at the hub."""
    return name.startswith((".", "/", "~")) or Path(name).is_dir()


def is_adapter_folder(name: str) -> bool:
    """Whether this names a folder; a version of an API's may be called as the folder of a run is."""
    return name.startswith((".", "/", "~")) or (Path(name) / ADAPTER_CONFIG).is_file()


def peft_folder(name: str) -> PeftFolder:
    """The adapter in a folder, or of a hub id; `InvalidInput` where there is none."""
    folder = Path(name).expanduser() if is_path(name) else fetched(name, (ADAPTER_WEIGHTS, *TEXT_FILES))
    if not folder.is_dir():
        raise InvalidInput(f"adapters: the folder {name!r} not found")
    if not (folder / ADAPTER_CONFIG).is_file():
        raise InvalidInput(f"{name} is no adapter in PEFT's format: it has no {ADAPTER_CONFIG}")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickle = (folder / "adapter_model.bin").is_file()
        mend = "; adapter_model.bin is not read, as it could run code: save it with PEFT as safetensors"
        raise InvalidInput(f"{name} has no {ADAPTER_WEIGHTS}{mend if pickle else ''}")
    return PeftFolder(name, folder)


def stored(name: str, store_dir: Path) -> PeftFolder:
    """A version such as `eval-concise@20` where a local API keeps it; `InvalidInput` where it does not."""
    lora_id, version = _version(name)
    folder = store_dir.expanduser() / "adapters" / served_name(lora_id) / f"{version:06d}"
    if not (folder / ADAPTER_CONFIG).is_file():
        raise InvalidInput(
            f"{name} is not in {store_dir}: set store_dir, or download it from its API (GET /v1/lora/export) and name "
            "the folder"
        )
    return PeftFolder(name, folder)


def _version(name: str) -> tuple[str, int]:
    if (named := name_and_version(name)) is None:
        raise InvalidInput(f"{name} is neither a version such as eval-concise@20, nor a folder, nor a hub id")
    return named


def fetched(name: str, patterns: Sequence[str]) -> Path:
    """The files of a hub id that have such names, from the hub or its cache here."""
    try:
        hub: Any = import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise MissingExtra("huggingface_hub", "bench") from error
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(patterns)))
    except hub.errors.LocalEntryNotFoundError as error:
        raise InvalidInput(
            f"{name!r} is neither a folder nor in the hub's cache here, and the hub cannot be reached; download it "
            "where it can be, and name the folder"
        ) from error
    except (OSError, ValueError) as error:  # the hub's errors are subclasses of these
        raise InvalidInput(f"{name!r} is no folder, and the hub does not give it: {one_line(error)}") from error


def place_of(model: str) -> str:
    """Where a base model's files are: a folder, unpacked where need be, or a hub id."""
    return str(model_source(model).directory) if has_files(model) else model


def _same_model(one: str, other: str) -> bool:
    """Whether two names can be told to be one model's: the same folder, or the same last part."""
    places = [WEIGHTS_DIR if name == EMBEDDED else Path(name) for name in (one, other)]
    if all(place.is_dir() for place in places):
        return places[0].samefile(places[1])
    return places[0].name.lower() == places[1].name.lower()
