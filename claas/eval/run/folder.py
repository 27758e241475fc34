"""Opening a run's folder: made or found, locked, and refused when it holds something else."""

import re
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from claas.core.errors import InvalidInput
from claas.core.files import locked, read_text, write_atomically
from claas.eval.run.canary import Canaries
from claas.results.manifest import Manifest, continued, new_manifest
from claas.results.run_files import RunFiles, parsed
from claas.results.settings import EvalConfig

RUNS = Path("data/evals")
"""Where runs without an `output_dir` go, below the working directory."""


@dataclass(frozen=True)
class OpenRun:
    """A run folder that this process holds: its resolved configuration, and what its versions scored the canary."""

    files: RunFiles
    run_id: str
    config: EvalConfig
    canaries: Canaries = field(default_factory=Canaries)


@contextmanager
def open_run(config: EvalConfig) -> Generator[OpenRun, None, None]:
    """Hold the folder of `config.output_dir`, or a new one named after the time.

    `InvalidInput` when it cannot be made or holds something else, `Conflict` when another process works on it.
    """
    files = RunFiles(new_folder() if config.output_dir is None else _given_folder(config.output_dir))
    with ExitStack() as held:
        with _usable(str(files.root)):
            in_use = f"another process works on {files.root}; wait for it to end, or choose another output_dir"
            held.enter_context(locked(files.lock, in_use))
        yield _started_or_continued(config, files)


def new_folder() -> Path:
    """A folder named after the time in UTC, with `-2`, `-3`, ... when others started within the same second."""
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


def _given_folder(output_dir: str) -> Path:
    with _usable(output_dir):
        folder = Path(output_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@contextmanager
def _usable(where: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"output_dir {where} cannot be used: {error.strerror}; choose another one") from error


def _started_or_continued(config: EvalConfig, files: RunFiles) -> OpenRun:
    """The run in the folder, its manifest written or brought up to date."""
    if files.config.exists():
        old = parsed(files.config, read_text(files.config), Manifest)
        resolved = continued(config, old, files.root)
        manifest = old.model_copy(update={"config": asdict(resolved)})
    else:
        _require_empty(files)
        resolved = config.resolved()
        manifest = new_manifest(_run_id(files.root), resolved)
    write_atomically(files.config, manifest.model_dump_json(indent=2) + "\n")
    return OpenRun(files, manifest.run_id, resolved)


def _require_empty(files: RunFiles) -> None:
    """Refuse a folder of other things, which is not a run that has yet to start."""
    other = sorted(path.name for path in files.root.iterdir() if not path.name.startswith("."))
    if other:
        raise InvalidInput(
            f"output_dir {files.root} holds {other[0]!r} but no config.json, so it is no run's folder; choose another, "
            "or put config.json back"
        )


def _run_id(folder: Path) -> str:
    """The folder's name, in characters that an adapter id allows."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name).lstrip("._-") or "run"
