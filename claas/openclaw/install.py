"""Installs OpenClaw and the Node.js it runs on from npm, into a folder of the project's own, where they are missing."""

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claas.core.checks import one_of
from claas.core.errors import InvalidInput, StackError
from claas.core.files import writing

DEFAULT_VERSION = "2026.2.25"
_OWN_HOOKS = ("boot-md", "bootstrap-extra-files", "command-logger", "session-memory")
_SHOWN_LINES = 12
_LONGEST_INSTALL_S = 1800


@dataclass(frozen=True)
class Release:
    """A release that is known to work: the Node.js it runs on, how npm installs it, and settings that only it needs.

    `stubs` are dependencies replaced by an empty package, `overrides` pin the versions of others. `compat`, `agent`,
    `compaction` and `plugin` are entries of `openclaw.json`: of the model, the agent, its memory and the plugins;
    `hooks` are those that the plugin for feedback needs.
    """

    version: str
    node: str
    npm_flags: tuple[str, ...]
    stubs: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    compat: Mapping[str, Any] = field(default_factory=dict[str, Any])
    agent: Mapping[str, Any] = field(default_factory=dict[str, Any])
    compaction: Mapping[str, Any] = field(default_factory=dict[str, Any])
    plugin: Mapping[str, Any] = field(default_factory=dict[str, Any])
    hooks: Mapping[str, Any] = field(default_factory=dict[str, Any])


_RELEASES = {
    release.version: release
    for release in (
        Release(
            version="2026.2.25",
            node="22.23.3",
            # Optional dependencies hold prebuilt binaries that its command line loads; a peer would add a gigabyte.
            npm_flags=("--legacy-peer-deps",),
            # libsignal (WhatsApp) comes from git, not from npm; newer linkedom asks for a package that npm lacks.
            stubs=("libsignal",),
            overrides={"linkedom": "0.18.12"},
            # Else it looks at every turn for something to compact.
            compaction={"reserveTokens": 1, "reserveTokensFloor": 0},
            # Only these tell which session a message belongs to; those that ship with OpenClaw stay off.
            hooks={
                "hooks": {"internal": {"enabled": True, "entries": {name: {"enabled": False} for name in _OWN_HOOKS}}}
            },
        ),
        Release(
            version="2026.9.6",
            node="24.21.0",
            npm_flags=("--omit=optional",),
            compat={"supportsTools": False, "requiresStringContent": True},
            agent={"contextInjection": "never", "skills": []},
            plugin={"hooks": {"allowConversationAccess": True}},
        ),
    )
}
VERSIONS = tuple(_RELEASES)


def release(version: str) -> Release:
    """The release of that version; an unknown one raises `InvalidInput` listing the known ones."""
    one_of("OpenClaw version", version, _RELEASES)
    return _RELEASES[version]


@dataclass(frozen=True)
class Installation:
    """An installed OpenClaw: the programs that run it."""

    node: Path
    program: Path


def install(release: Release, folder: Path) -> Installation:
    """Install `release` into `folder`, unless it is there.

    `InvalidInput` without npm, `StackError` with npm's own words when it fails; the next call starts that part anew.
    """
    package = _node_package()
    node = _npm_install(folder / "node", package, release.node, "Node.js", ())
    app = _npm_install(folder / "app", "openclaw", release.version, "OpenClaw", release.npm_flags, release)
    return Installation(node=node / package / "bin" / "node", program=app / "openclaw" / "openclaw.mjs")


def _node_package() -> str:
    """The npm package that holds nothing but Node.js for this machine."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower())
    if platform.system() != "Linux" or machine is None:
        raise InvalidInput(
            f"OpenClaw is installed here on Linux, x86-64 or arm64, and this is {platform.system()} on "
            f"{platform.machine()}; install it as its own documentation says, and point openclaw_url at it"
        )
    return f"node-linux-{machine}"


def _npm_install(
    folder: Path, package: str, version: str, name: str, flags: tuple[str, ...], release: Release | None = None
) -> Path:
    """The `node_modules` that holds `package`. `.installed` is written last: without it, nothing counts."""
    marker, wanted = folder / ".installed", f"{package}@{version}"
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
        return folder / "node_modules"
    npm = shutil.which("npm")
    if npm is None:
        raise InvalidInput("npm is not installed; OpenClaw comes from it: install Node.js, whose part it is")
    print(f"installing {name} {version} into {folder} (up to a minute) ...", flush=True)
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_json(folder / "package.json", _package(package, version, folder, release))
        # No script of any package is run: nothing here needs one.
        _run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *flags], folder)
        marker.write_text(wanted, encoding="utf-8")
    return folder / "node_modules"


def _package(package: str, version: str, folder: Path, release: Release | None) -> Mapping[str, object]:
    overrides = dict(release.overrides) if release else {}
    for name in release.stubs if release else ():
        stub = folder / f"stub-{name}"
        stub.mkdir()
        _write_json(stub / "package.json", {"name": name, "version": "0.0.0-stub", "main": "index.js"})
        (stub / "index.js").write_text("module.exports = {};\n", encoding="utf-8")
        overrides[name] = f"file:./stub-{name}"
    return {"private": True, "dependencies": {package: version}, "overrides": overrides}


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LONGEST_INSTALL_S)
    except subprocess.TimeoutExpired as error:
        raise StackError(f"npm did not finish in {error.timeout:.0f} s; see that its registry can be reached") from None
    if done.returncode != 0:
        message = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_SHOWN_LINES:])
        raise StackError(f"npm failed with exit code {done.returncode} in {folder}: {message}")


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
