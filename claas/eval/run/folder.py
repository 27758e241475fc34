"""Opening a run's folder: create or find it, lock it, and refuse it if it holds something else."""

import re
import shutil
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from claas.core.errors import ClaasError, InvalidInput, StackError
from claas.core.files import locked, read_text
from claas.eval.run.canaries import Canaries
from claas.results.code import Change, Code, differences
from claas.results.foreign import OF_KFALLAH_CLAAS, is_of_kfallah_claas
from claas.results.manifest import (
    Manifest,
    PlannedTrack,
    continued,
    new_manifest,
    recorded_values,
    require_same_tracks,
    write_manifest,
)
from claas.results.records import utc_now
from claas.results.run_files import RunFiles, parsed
from claas.results.settings import EvalConfig, recorded_config
from claas.results.user import UserConfig

RUNS = Path("data/evals")
"""Where runs without an `output_dir` go, below the working directory."""

_OF_TIME = re.compile(r"\d{8}-\d{6}Z(-\d+)?")
"""What `new_folder` calls one."""

_RECORDS = ("*/baseline.json", "*/ledger.jsonl")
"""What was asked for in a run, or paid for, beside the replies of its user."""


@dataclass(frozen=True)
class OpenRun:
    """A run folder locked by this process, with the run's resolved configuration and its versions' canary scores."""

    files: RunFiles
    manifest: Manifest
    config: EvalConfig
    canaries: Canaries = field(default_factory=Canaries)

    @property
    def run_id(self) -> str:
        """The folder's name when the run was started, as it appears in adapter ids."""
        return self.manifest.run_id

    def made_with(self, code: Code, next_steps: Mapping[str, int | None]) -> "OpenRun":
        """This run, continued with `code` from the given steps on; None stands for the baseline.

        A difference to the code used so far is noted in the manifest. Raises `InvalidInput` with the difference unless
        it was accepted, or only consists of patch releases.
        """
        then = self.manifest.codes[-1]
        found = differences(then, code)
        if not found:
            return self
        if all(step is None for step in next_steps.values()):  # nothing is on record yet
            return self._with(versions=code.versions, sources=code.sources, changes=())
        serious = differences(then, code, but_patches=True)
        if serious and not self.config.accept_changes:
            raise InvalidInput(
                f"{self.files.root} was made with other code: {'; '.join(serious)}. Restore it, choose another "
                "output_dir, or add accept_changes=true, which records since which step the code is another one"
            )
        change = Change(timestamp=utc_now(), from_step=dict(next_steps), differences=tuple(found), code=code)
        return self._with(changes=(*self.manifest.changes, change))

    def on(self, base_source: str | None) -> "OpenRun":
        """This run, on a base model with the given source of weights; an engine refuses adapters of other weights."""
        known = self.manifest.base_source
        return self if base_source is None or known is not None else self._with(base_source=base_source).recorded()

    def recorded(self) -> "OpenRun":
        """This run, after writing its manifest to config.json."""
        write_manifest(self.files, self.manifest)
        return self

    def _with(self, **changed: object) -> "OpenRun":
        return replace(self, manifest=self.manifest.model_copy(update=changed))


@contextmanager
def open_run(
    config: EvalConfig, code: Code | None = None, tracks: Sequence[PlannedTrack] = ()
) -> Generator[OpenRun, None, None]:
    """Lock the folder `config.output_dir`, or a new one named after the time, for a run of `tracks`.

    Raises `InvalidInput` if it cannot be created or holds something else, `Conflict` if another process has locked it.
    The config.json of a resumed run is not changed before `recorded`. A run that is refused before anything of it is on
    record leaves nothing behind.
    """
    root = new_folder() if config.output_dir is None else Path(config.output_dir).expanduser()
    files, ours = RunFiles(root), [folder for folder in (root, *root.parents) if _is_ours(folder)]
    with ExitStack() as held:
        with _usable(str(root)):
            root.mkdir(parents=True, exist_ok=True)
            found = {path.name for path in root.iterdir()}
            in_use = f"another process works on {root}; wait for it to end, or choose another output_dir"
            held.enter_context(locked(files.lock, in_use))
        if not files.config.exists():
            held.enter_context(_taken_back(files, found, ours))
        yield _started_or_continued(config, files, code, tuple(tracks) or None)


@contextmanager
def _taken_back(files: RunFiles, found: Collection[str], ours: Sequence[Path]) -> Generator[None, None, None]:
    """Leave nothing of a run that is refused before anything is on record of it, but what was `found` in its folder.

    `ours` are the folders, the innermost first, that are no more than the run's. What can be continued stays.
    """
    try:
        yield
    except StackError:
        raise
    except ClaasError:
        if not files.user.exists() and not any(next(files.root.glob(each), None) for each in _RECORDS):
            with suppress(OSError):
                for path in files.root.iterdir():
                    if path.name not in found:
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                for folder in ours:
                    folder.rmdir()
        raise


def _is_ours(folder: Path) -> bool:
    """Whether a run makes the folder, or has made it to have a name that is free."""
    return not folder.exists() or (
        bool(_OF_TIME.fullmatch(folder.name)) and folder.is_dir() and not any(folder.iterdir())
    )


def as_started(config: EvalConfig) -> EvalConfig:
    """`config` without settings that the run being resumed predates: control arms and the user's patience."""
    path = None if config.output_dir is None else RunFiles(Path(config.output_dir).expanduser()).config
    if path is None or not path.is_file():
        return config
    recorded = parsed(path, read_text(path), Manifest).config
    if "controls" not in recorded and config.controls == EvalConfig().controls:
        config = replace(config, controls=[])
    if isinstance(recorded.get("user", ""), str) and config.user.patience == UserConfig().patience:
        config = replace(config, user=replace(config.user, patience=recorded_config(recorded).user.patience))
    return config


def new_folder() -> Path:
    """A folder named after the time in UTC, with `-2`, `-3`, ... if other runs started within the same second."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%SZ}"
    with _usable(str(RUNS)):
        RUNS.mkdir(parents=True, exist_ok=True)
        attempt = 1
        while True:
            try:
                folder = RUNS / (name if attempt == 1 else f"{name}-{attempt}")
                folder.mkdir()
                return folder
            except FileExistsError:
                attempt += 1


@contextmanager
def _usable(where: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"output_dir {where} cannot be used: {error.strerror}; choose another one") from error


def _started_or_continued(
    config: EvalConfig, files: RunFiles, code: Code | None, tracks: tuple[PlannedTrack, ...] | None
) -> OpenRun:
    """The run in the folder, its manifest written or brought up to date."""
    if files.config.exists():
        old = parsed(files.config, read_text(files.config), Manifest)
        resolved = continued(config, old, files.root)
        require_same_tracks(resolved, old.tracks, tracks, files.root)
        manifest = old.model_copy(update={"config": _in_the_form_of(old.config, resolved), "tracks": tracks})
        return OpenRun(files, manifest, resolved)
    _require_empty(files)
    resolved = config.resolved()
    return OpenRun(files, new_manifest(_run_id(files.root), resolved, code, tracks), resolved).recorded()


def _in_the_form_of(recorded: Mapping[str, Any], config: EvalConfig) -> dict[str, Any]:
    """The values of `config`, without settings that the run predates (see `as_started`)."""
    values = recorded_values(config)
    if "controls" not in recorded:
        del values["controls"]
    if isinstance(user := recorded.get("user"), str):
        values["user"] = user
    return values


def _require_empty(files: RunFiles) -> None:
    """Refuse a folder that holds other files, unless they are those of a run that has yet to start."""
    other = sorted(path.name for path in files.root.iterdir() if not path.name.startswith("."))
    if is_of_kfallah_claas(files.root):
        raise InvalidInput(f"output_dir {files.root} holds {OF_KFALLAH_CLAAS}; choose another")
    if other:
        raise InvalidInput(
            f"output_dir {files.root} holds {other[0]!r} but no config.json, so it is no run's folder; choose another, "
            "or put config.json back"
        )


def _run_id(folder: Path) -> str:
    """The folder's name, with only the characters that an adapter id allows."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name).lstrip("._-") or "run"
