"""Which folders below a results folder are runs; and nothing outside the root is ever looked at."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claas.core.errors import BadRequest, NotFound, StackError

_DEEPEST = 3


@dataclass(frozen=True)
class Folder:
    """A folder by its name below the results folder; `problem` says why it is no run, None when it is one."""

    name: str
    path: Path
    problem: str | None = None


def results_folder(root: Path, asked: str | None) -> Path:
    """The folder that `asked` names, `root` when it names none; `BadRequest` when it lies outside `root`."""
    if asked is None:
        return root
    if not _below(root, Path(asked)):
        raise BadRequest(
            f"results_dir={asked} is outside of {root}, which is all that this API shows; start it with "
            "results_dir=... to show another folder"
        )
    return Path(asked)


def run_folder(results: Path, name: str) -> Path:
    """The folder of the run called `name`; `BadRequest` when that leads outside, `NotFound` when nothing is there."""
    if not _below(results, results / name) or _same(results, results / name):
        raise BadRequest(f"run={name} is not a folder below {results}")
    if not _is_folder(results / name):
        raise NotFound(f"there is no run {name} in {results}")
    return results / name


def find_runs(results: Path) -> list[Folder]:
    """Every run below `results`, and what looks as if it should be one; in no order. No folder is no run."""
    try:
        return list(_found(results, results, _DEEPEST)) if results.is_dir() else []
    except OSError as error:
        raise StackError(f"cannot read the results folder {results}: {error.strerror or error}") from error


def shown(name: str) -> str:
    """A file's name as a page can show it: what is not UTF-8 in it is replaced, and marked so."""
    return os.fsencode(name).decode(errors="replace")


def _found(results: Path, folder: Path, depth: int) -> Iterator[Folder]:
    for entry in os.scandir(folder):
        if not entry.name.startswith("."):
            try:
                yield from _at(results, Path(entry.path), depth) if entry.is_dir() else []
            except OSError as error:
                name = shown(_name(results, Path(entry.path)))
                yield Folder(name, Path(entry.path), f"it cannot be read: {error.strerror}")


def _at(results: Path, path: Path, depth: int) -> list[Folder]:
    """What the list says of a folder: one entry, or those of the runs inside it."""
    name = _name(results, path)
    if shown(name) != name:
        return [Folder(shown(name), path, "its name is not UTF-8, so no address can name it; rename it")]
    if not _below(results, path):
        return [Folder(name, path, "a link to a folder elsewhere, which is not followed")]
    if (path / "config.json").is_file():
        return [Folder(name, path)]
    inner = list(_found(results, path, depth - 1)) if depth > 1 else []
    return inner if any(each.problem is None for each in inner) else [Folder(name, path, _why_no_run(path))]


def _why_no_run(path: Path) -> str:
    held = sorted(shown(name) for name in os.listdir(path) if not name.startswith("."))
    return f"no run: it holds {held[0]} but no config.json" if held else "no run: an empty folder"


def _name(results: Path, path: Path) -> str:
    return path.relative_to(results).as_posix()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name, a folder that may not be entered
        return False


def _below(root: Path, path: Path) -> bool:
    """Whether `path` is `root` or below it, links followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL in it, a circle of links
        return False


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
