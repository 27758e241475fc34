"""The YAML a user writes: found by name or path, read, and checked, with errors that name the file."""

import functools
import pickle
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from claas.core.errors import InvalidInput
from claas.core.settings import config_root

ConfigDir = str | Path | None
"""A folder of the user's, laid out like the shipped one; its files come first."""

M = TypeVar("M", bound=BaseModel)


def known(kind: str, config_dir: ConfigDir) -> list[str]:
    """The names of all files of a kind (`preference`, `capability`), sorted."""
    return sorted({path.stem for folder in _folders(config_dir) for path in (folder / kind).glob("*.yaml")})


def find(kind: str, name_or_path: str, config_dir: ConfigDir) -> Path:
    """The file of that name, else at that path."""
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise InvalidInput(f"there is no {kind} file {path}")
        return path
    for folder in _folders(config_dir):
        path = folder / kind / f"{name_or_path}.yaml"
        if path.is_file():
            return path
    raise InvalidInput(f"unknown {kind} {name_or_path!r}; known: {', '.join(known(kind, config_dir)) or 'none'}")


def read(path: Path) -> Any:
    """The parsed content of a YAML file."""
    return parsed(path, text(path))


def text(path: Path) -> str:
    """The content of a YAML file, as it stands there."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: malformed YAML: {error}") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error


def parsed(path: Path, content: str) -> Any:
    """What the content of the file at `path` says."""
    try:
        return pickle.loads(_pickled(content))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidInput(f"{path}{line}: malformed YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path}: malformed YAML: {' '.join(str(error).split())}") from error


@functools.lru_cache(maxsize=64)
def _pickled(content: str) -> bytes:
    """Kept, because a run reads most of its files more than once, and the next run of the same process does again."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is libyaml's, four times as fast
    return pickle.dumps(yaml.load(content, loader))


def checked(model: type[M], content: Any, path: Path) -> M:
    """The content as `model`; the first thing that is wrong is raised, named with its file and field."""
    if not isinstance(content, dict):
        raise InvalidInput(f"{path}: expected fields, each `name: value`, got {type(content).__name__}")
    with naming(path):
        return model.model_validate(content)


@contextmanager
def naming(path: Path) -> Generator[None, None, None]:
    """Turn pydantic's report into one line about the first mistake."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = {"missing": "this field is missing", "extra_forbidden": "unknown field"}
        message = said.get(first["type"], first["msg"])
        raise InvalidInput(f"{path}: {where}: {message}" if where else f"{path}: {message}") from error


def _folders(config_dir: ConfigDir) -> list[Path]:
    if config_dir is None:
        return [config_root()]
    users = Path(config_dir).expanduser()
    if not users.is_dir():
        raise InvalidInput(f"config_dir {users} is not a folder")
    return [users, config_root()]
