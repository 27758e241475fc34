"""What a run's folder takes of the disk, and giving some or all of that back: its stack, or the whole run."""

import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from claas.core.errors import Conflict, InvalidInput, StackError
from claas.core.files import is_locked, locked, read_text, writing
from claas.results.manifest import Manifest, planned_tracks, read_manifest
from claas.results.records import Status
from claas.results.run_files import RunFiles, parsed
from claas.results.settings import recorded_config
from claas.results.summary import FILE_NAME, Summary

_OWN = (
    *(
        "config.json",
        FILE_NAME,
        "report.html",
        "junit.xml",
        "plots",
        "stack",
        "tensorboard",
        "wandb",
        "user.jsonl",
        "sessions.jsonl",
        "labels.json",
    ),
    *(".lock", ".loggers", ".pages", ".*.lock", ".*.tmp", ".making-*", ".deleting-*"),
)
"""What the harness, and those who look at a run, write into its folder, as patterns."""

_OF_A_TRACK = frozenset({"metadata.json", "baseline.json", "ledger.jsonl", "steps.jsonl", "sampled"})
_GOING = ".deleting-"


@dataclass(frozen=True)
class Part:
    """Something in a run's folder, and how many bytes of the disk it takes."""

    name: str
    size: int


def parts_of(root: Path) -> list[Part]:
    """All that is in a folder, largest first. What is linked elsewhere takes nothing here."""
    seen: set[tuple[int, int]] = set()
    try:
        found = [Part(entry.name, _size(entry, seen)) for entry in os.scandir(root)]
    except OSError as error:
        raise StackError(f"cannot read {error.filename or root}: {error.strerror}") from error
    return sorted(found, key=lambda part: (-part.size, part.name))


def require_deletable(root: Path, *, with_others: bool = False) -> list[str]:
    """What is in a run's folder and no part of it; `InvalidInput` unless that may go, too, and it is a run's folder."""
    others = others_in(root, require_run(root))
    if others and not with_others:
        listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        raise InvalidInput(
            f"{root} also holds what is no part of a run: {listed}; move it away, or delete it, too (--with-others)"
        )
    return others


def others_in(root: Path, manifest: Manifest) -> list[str]:
    """What is in a run's folder that no run writes there, which a deletion would take along."""
    tracks = {track.name for track in planned_tracks(recorded_config(manifest.config), manifest.tracks)}
    return sorted(
        entry.name
        for entry in os.scandir(root)
        if not any(fnmatchcase(entry.name, pattern) for pattern in _OWN)
        and not (entry.name in tracks or _is_track(Path(entry.path)))
    )


def require_run(root: Path) -> Manifest:
    """The manifest of the run in a folder; `InvalidInput` unless it is a run's own folder, which is no link."""
    if root.is_symlink():
        raise InvalidInput(f"{root} is a link; name the folder that it leads to, if that is what is meant")
    return read_manifest(RunFiles(root))


def free(root: Path) -> int:
    """Delete the embedded stack of a finished run, its adapters with it; says how many bytes the disk gets back.

    `InvalidInput` for a run that has not finished, which could not be continued any more.
    """
    require_run(root)
    stack = RunFiles(root).stack
    if stack.is_symlink():
        raise InvalidInput(f"{stack} is a link, which is not followed; delete what it leads to by hand")
    with _held(root):
        if not _is_finished(root):
            raise InvalidInput(
                f"{root} has not finished, and needs its stack to go on; finish it, or delete the whole run"
            )
        _require_unserved(stack)
        _sweep(root)
        if not stack.is_dir():
            return 0
        size = sum(part.size for part in parts_of(stack))
        _remove(stack)
    return size


def delete(root: Path, *, with_others: bool = False) -> int:
    """Delete a run's folder; says how many bytes the disk gets back.

    It is out of every list at once, and gone for good when this returns; what a deletion that was killed has left is
    deleted with the next one in the same place. `InvalidInput` for what is no run, and where the folder holds
    something else (unless `with_others`); `Conflict` while a process works on the run, or an API on its stack. Links
    in it are deleted, and what they lead to is not.
    """
    require_deletable(root, with_others=with_others)
    root = root.resolve()
    _sweep(root.parent)
    with _held(root):
        _require_unserved(RunFiles(root).stack)
        size = sum(part.size for part in parts_of(root))
        _remove(root)
    return size


def _require_unserved(stack: Path) -> None:
    """`Conflict` while an API that somebody started answers with the adapters of a run."""
    if is_locked(stack / ".lock"):
        raise Conflict(f"an API works on {stack}; stop it first")


def _is_finished(root: Path) -> bool:
    """Whether every track is in the summary, and complete there."""
    path = root / FILE_NAME
    if not path.is_file():
        return False
    summary = parsed(path, read_text(path), Summary)
    manifest = read_manifest(RunFiles(root))
    tracks = planned_tracks(recorded_config(manifest.config), manifest.tracks)
    done = {name for name, track in summary.preferences.items() if track.status is Status.COMPLETE}
    return {track.name for track in tracks} <= done


def _is_track(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and set(os.listdir(path)) <= _OF_A_TRACK


def _size(entry: "os.DirEntry[str]", seen: set[tuple[int, int]]) -> int:
    """Bytes on the disk, of a folder with all that is in it; of several names for one file, the first counts."""
    status = entry.stat(follow_symlinks=False)
    inside = sum(_size(each, seen) for each in _entries(entry))
    if not entry.is_dir(follow_symlinks=False):
        if (status.st_dev, status.st_ino) in seen:
            return 0
        seen.add((status.st_dev, status.st_ino))
    return status.st_blocks * 512 + inside


def _entries(entry: "os.DirEntry[str]") -> Iterator["os.DirEntry[str]"]:
    return os.scandir(entry.path) if entry.is_dir(follow_symlinks=False) else iter(())


@contextmanager
def _held(root: Path) -> Generator[None]:
    """The lock of a run that nobody works on."""
    with (
        writing(root / ".lock"),
        locked(RunFiles(root).lock, f"a process works on {root}; wait for it, or stop it first"),
    ):
        yield


def _remove(folder: Path) -> None:
    """Put a folder out of sight in one step, then delete it."""
    going = folder.with_name(f"{_GOING}{folder.name}")
    with writing(folder):
        folder.rename(going)
        _delete_all(going)


def _sweep(folder: Path) -> None:
    """Delete what a deletion has left that was killed; one that is still under way holds its lock."""
    for path in folder.glob(f"{_GOING}*"):
        if path.is_dir() and not path.is_symlink() and not is_locked(RunFiles(path).lock):
            with writing(path):
                _delete_all(path)


def _delete_all(folder: Path) -> None:
    while folder.exists():
        with suppress(FileNotFoundError):  # another deletion sweeps, too
            shutil.rmtree(folder)
