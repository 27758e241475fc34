"""What can be converted: how each kind is told, and the files that it is made of. Nothing here needs torch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from pydantic_core import from_json

from claas.bench.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, TEXT_FILES, fetched, is_path, place_of, stored
from claas.core.errors import InvalidInput, MissingExtra
from claas.core.files import read_text, sha256_of

_METHOD = 1
"""A digest is of this, too: another way to convert makes another folder."""

_WEIGHT_FILES = ("*.safetensors",)


class Kind(StrEnum):
    """What a path holds."""

    MODEL = "Hugging Face folder"
    ADAPTER = "adapter in PEFT's format"
    DCP = "torch distributed checkpoint"
    GGUF = "GGUF file"


def kind_of(path: Path) -> Kind | None:
    """By the files that are there; None where it is no checkpoint."""
    if path.is_file():
        return Kind.GGUF if path.suffix == ".gguf" else None
    if (path / ADAPTER_CONFIG).is_file():
        return Kind.ADAPTER
    if stages(path):
        return Kind.DCP
    is_model = (path / "config.json").is_file() and any(path.glob("*.safetensors"))
    return Kind.MODEL if is_model else None


def stages(path: Path) -> list[Path]:
    """The folders with parts of a distributed checkpoint: itself, or one for each stage of a pipeline (pp0, pp1)."""
    parts = [part for part in sorted(path.glob("pp*")) if (part / ".metadata").is_file()]
    return [path] if (path / ".metadata").is_file() else parts


@dataclass(frozen=True)
class Source:
    """Something to convert; `base` has the config.json and tokenizer, and of an adapter the base model's weights, too.

    `base` is None where a GGUF file says all of that itself.
    """

    kind: Kind
    path: Path
    base: Path | None

    def digest(self, **settings: object) -> str:
        """sha256 of everything that the converted folder follows from; `settings` say how it is converted."""
        digest = hashlib.sha256(json.dumps([_METHOD, self.kind, settings], sort_keys=True).encode())
        for name, path in self._files():
            digest.update(f"\0{name}\0{sha256_of(path)}".encode())
        return digest.hexdigest()

    def _files(self) -> Iterator[tuple[str, Path]]:
        if self.kind is Kind.GGUF:
            yield "weights", self.path
        elif self.kind is Kind.ADAPTER:
            yield from ((name, self.path / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS))
        else:
            for stage in stages(self.path):
                parts = sorted([stage / ".metadata", *stage.glob("*.distcp")])
                yield from ((str(part.relative_to(self.path)), part) for part in parts)
        if self.base is not None:
            patterns = (*TEXT_FILES, *(_WEIGHT_FILES if self.kind is Kind.ADAPTER else ()))
            known = {path for pattern in patterns for path in self.base.glob(pattern) if path.is_file()}
            yield from ((f"base/{path.name}", path) for path in sorted(known))


def source_of(source: str, config: str | None, store_dir: Path) -> Source:
    """What `source` names: a path, or a version of an adapter in a store; `InvalidInput` where it cannot be converted.

    `config` is the folder or hub id of its config.json and tokenizer, or of an adapter's base model.
    """
    path = _place(source, store_dir)
    kind = kind_of(path)
    if kind is None or kind is Kind.MODEL:
        has = "a Hugging Face folder already: use it as it is" if kind else f"no {_listed()}"
        raise InvalidInput(f"{path} is {has}")
    if kind is Kind.GGUF:
        return Source(kind, path, None if config is None else folder_of(config, TEXT_FILES))
    if kind is Kind.DCP:
        beside = next((str(each) for each in (path, path.parent) if (each / "config.json").is_file()), None)
        if (place := config or beside) is None:
            raise InvalidInput(
                f"{path} has no config.json: set config to the folder or hub id of one, and its tokenizer"
            )
        return Source(kind, path, folder_of(place, TEXT_FILES))
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise InvalidInput(f"{path} has no {ADAPTER_WEIGHTS}; save the adapter as safetensors")
    place = config or _base_of(path)
    return Source(kind, path, folder_of(place, (*TEXT_FILES, *_WEIGHT_FILES)))


def folder_of(name: str, files: Sequence[str]) -> Path:
    """The folder of a base model by its name, of a path, or of a hub id, of which `files` are fetched."""
    path = Path(place_of(name)).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InvalidInput(f"{path} has no config.json")
        return path
    if is_path(name) or name.count("/") > 1:
        raise InvalidInput(f"there is no folder {name!r}")
    return fetched(name, files)


def require_local() -> None:
    """Raise `MissingExtra` without the packages that read and write weights."""
    for package in ("torch", "transformers", "peft", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra(package, "local")


def _place(source: str, store_dir: Path) -> Path:
    path = Path(source).expanduser()
    if not path.exists() and not is_path(source) and "@" in source:
        return stored(source, store_dir).folder
    if not path.exists():
        raise InvalidInput(f"source: there is no {source!r}")
    return path


def _base_of(adapter: Path) -> str:
    try:
        found = from_json(read_text(adapter / ADAPTER_CONFIG))["base_model_name_or_path"]
    except (ValueError, LookupError, TypeError):
        found = None
    if not isinstance(found, str) or not found:
        raise InvalidInput(f"{adapter / ADAPTER_CONFIG} does not name a base model: set config to its folder or hub id")
    return found


def _listed() -> str:
    return ", ".join(kind.value for kind in Kind if kind is not Kind.MODEL)
