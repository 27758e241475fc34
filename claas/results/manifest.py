"""What a run was asked for, by which code; and whether it may be continued by what is asked for now."""

import functools
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue

import claas
from claas.core.errors import InvalidInput
from claas.core.files import read_text, write_atomically
from claas.core.redaction import HIDDEN, names_secret
from claas.core.settings import MODES
from claas.results.code import Change, Code
from claas.results.foreign import OF_KFALLAH_CLAAS, is_of_kfallah_claas
from claas.results.records import SCHEMA_VERSION, Record
from claas.results.run_files import RunFiles, parsed
from claas.results.settings import FEEDBACK, IN_CONTEXT_HISTORY, ISOLATED, EvalConfig, recorded_config, spread

MAY_DIFFER = frozenset(
    {
        "output_dir",
        "claas_url",
        "openclaw_url",
        "openclaw_alias",
        "plots",
        "plot_formats",
        "plot_style",
        "max_concurrency",
        "parallel_preferences",
        "request_timeout_s",
        "retry_for_s",
        "fail_on_error",
        "fail_on_verdict",
        "plan",
        "halt_on_regression",
        "confirm_regression",
        "accept_changes",
        "criteria",
        "prices",
        "logger",
        "logger_wait_s",
        "user.base_url",
        "user.max_concurrency",
        "user.request_timeout_s",
        "user.retry_for_s",
        "user.budget",
    }
)
"""Settings that change no measurement, dotted within a section. `num_steps` may grow, too; every other setting stays
what it was."""

_PACKAGES = ("hydra-core", "httpx", "numpy", "omegaconf", "pydantic")
"""What every run stands on, whatever its engine."""


class PlannedTrack(Record):
    """Rounds of feedback on one adapter: the folder `name` has their records, measured by `preference`.

    Tracks of the same `adapter` train it one after another. Its user changes their mind after `flips_at` updates.
    `arm` says what they are. A control is beside the track `control_of`, and is not judged.
    """

    name: str
    adapter: str
    preference: str
    num_steps: int
    flips_at: int | None = None
    arm: str = FEEDBACK
    control_of: str | None = None


class Manifest(Record):
    """`config.json`. `config` is the resolved configuration; secrets are not in it, but in the environment only.

    `base_source` says where the base model's weights are from, as the server had it; None where it could not tell.
    `versions`, `sources` and `git_commit` are of the code that the run was started with (`claas.results.code`), and
    `changes` say since which steps it was made with other code.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    created: str
    config: dict[str, JsonValue]
    versions: dict[str, str]
    git_commit: str | None
    sources: dict[str, str] | None = None
    base_source: str | None = None
    changes: tuple[Change, ...] = ()
    tracks: tuple[PlannedTrack, ...] | None = None

    @property
    def codes(self) -> list[Code]:
        """Every code that the run was made with, in order."""
        return [Code(versions=self.versions, sources=self.sources), *(change.code for change in self.changes)]


def new_manifest(
    run_id: str, config: EvalConfig, code: Code | None = None, tracks: tuple[PlannedTrack, ...] | None = None
) -> Manifest:
    """The manifest of a run of `tracks` that starts now, made with `code`; `config` is resolved."""
    code = code or Code(versions=package_versions(config))
    return Manifest(
        run_id=run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=recorded_values(config),
        versions=code.versions,
        git_commit=_git_commit(),
        sources=code.sources,
        tracks=tracks,
    )


def recorded_values(config: EvalConfig) -> dict[str, Any]:
    """The configuration as it is recorded: without keys that somebody gave a logger as a setting."""
    values = asdict(config)
    values["logger"] = _without_keys(values["logger"])
    return values


def _without_keys(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _without_keys(each, key) for key, each in cast(dict[str, Any], value).items()}
    return HIDDEN if value is not None and names_secret(name) else value


def planned_tracks(config: EvalConfig, tracks: Sequence[PlannedTrack] | None) -> Sequence[PlannedTrack]:
    """What a run's manifest says of its tracks, or what it would have said of a run that is older than protocols."""
    if tracks is not None:
        return tracks
    return [
        PlannedTrack(name=name, adapter=name, preference=name, num_steps=config.num_steps)
        for name in config.preferences
    ]


def require_same_tracks(
    config: EvalConfig, then: Sequence[PlannedTrack] | None, now: Sequence[PlannedTrack] | None, folder: Path
) -> None:
    """`InvalidInput` where a run that goes on would not find the tracks that it began with.

    Only tracks with an adapter of their own, measured at every step, may grow: what came later would otherwise have
    been trained too early, and the last step of before would not be the last one, which is measured.
    """
    may_grow = config.protocol.kind == ISOLATED and config.measure_every == 1
    controls = any(track.control_of is not None for track in now or ()) or IN_CONTEXT_HISTORY in config.controls
    if then is None or now is None or list(then) == list(now) or (may_grow and not controls):
        return
    was, is_now = (", ".join(f"{track.name} {track.num_steps}" for track in tracks) for tracks in (then, now))
    raise InvalidInput(
        f"{folder} holds a run of other rounds: {was} steps, now {is_now}. None may be added with protocol="
        f"{config.protocol.kind}, measure_every={config.measure_every} and controls={config.controls}; ask for those "
        "it was started with, or choose another output_dir"
    )


def read_manifest(files: RunFiles) -> Manifest:
    """The manifest of the run in a folder; `InvalidInput` when the folder holds none that can be read."""
    if not files.root.is_dir():
        raise InvalidInput(f"there is no folder {files.root}; name a run's folder, as in data/evals/<run>")
    if not files.config.exists():
        raise InvalidInput(
            f"{files.root} is {OF_KFALLAH_CLAAS}"
            if is_of_kfallah_claas(files.root)
            else f"{files.root} is not a run's folder: it holds no {files.config.name}"
        )
    return parsed(files.config, read_text(files.config), Manifest)


def write_manifest(files: RunFiles, manifest: Manifest) -> None:
    """Replace the run's config.json in one step."""
    write_atomically(files.config, manifest.model_dump_json(indent=2) + "\n")


def continued(config: EvalConfig, recorded: Manifest, folder: Path) -> EvalConfig:
    """`config` resolved for the run in `folder`; `InvalidInput` shows every setting that contradicts its record.

    Checkpoints that were left open stay as recorded; a run that grows gets those of the added steps.
    """
    then, resolved = recorded_config(recorded.config), config.resolved()
    old_steps, old_checkpoints = then.num_steps, then.checkpoints or []
    if config.checkpoints is None and config.num_steps >= old_steps:
        added = [step for step in spread(config.num_steps) if step >= old_steps]
        resolved = replace(resolved, checkpoints=[*old_checkpoints, *added])
    asked = asdict(resolved)
    if config.checkpoints is None:  # what follows from num_steps is no difference of its own
        asked["checkpoints"] = old_checkpoints
    differences = _differences(asdict(then), asked, old_steps)
    if differences:
        raise InvalidInput(
            f"{folder} holds a run with another configuration: {'; '.join(differences)}. Choose another output_dir, "
            "or ask for what the run was started with"
        )
    return resolved


def flat_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name, as they are given on the command line: `training.learning_rate`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flat_settings(cast(dict[str, Any], value), f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def written(value: object) -> str:
    """A setting's value as it is given on the command line, where a text has no quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def measured_settings(config: EvalConfig) -> dict[str, Any]:
    """Every setting of a resolved configuration that may change what is measured, by dotted name."""
    comparable = _comparable(asdict(config), config.num_steps) | {"num_steps": config.num_steps}
    return {name: value for name, value in comparable.items() if name not in ("lora_id_prefix", "config_dir")}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], old_steps: int) -> list[str]:
    """`seed was 1, now 2` for each setting that may not differ and does."""
    was, now = _comparable(old, old_steps), _comparable(new, old_steps)
    differences = [
        f"{key} was {was.get(key)!r}, now {now.get(key)!r}" for key in sorted(was | now) if was.get(key) != now.get(key)
    ]
    if new["num_steps"] < old_steps:
        differences.append(f"num_steps was {old_steps}, now {new['num_steps']} (it may only grow)")
    return differences


def _comparable(config: Mapping[str, Any], old_steps: int) -> dict[str, Any]:
    """By dotted name."""
    may_differ = MAY_DIFFER | {"num_steps"}
    must_agree = {key: value for key, value in config.items() if key not in may_differ}
    return {key: value for key, value in flat_settings(must_agree).items() if key not in may_differ} | {
        "checkpoints": [step for step in config["checkpoints"] if step < old_steps],
        "through a gateway": config["openclaw_url"] is not None,
    }


def package_versions(config: EvalConfig) -> dict[str, str]:
    """The versions of this package, of Python, and of those installed packages that the run stands on, or its engine
    where this process hosts that."""
    versions = {"claas": claas.__version__, "python": platform.python_version()}
    engine = MODES[config.mode].packages if config.claas_url is None else ()
    found = {package: installed(package) for package in sorted({*_PACKAGES, *engine})}
    return versions | {package: version for package, version in found.items() if version is not None}


@functools.cache
def installed(package: str) -> str | None:
    """The version of an installed package; None where there is none of that name."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of a source checkout; None for an installed package, without git, and before the first commit."""
    root = Path(claas.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
