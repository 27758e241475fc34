"""Node.js and OpenClaw from npm, in a folder of the project's own; what is installed already is left as it is."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claas.core.errors import InvalidInput, StackError
from claas.core.files import writing
from claas.openclaw.release import Release, node_package

_SHOWN_LINES = 12
_LONGEST_INSTALL_S = 1800


@dataclass(frozen=True)
class Installation:
    """An installed OpenClaw: the programs that run it."""

    node: Path
    program: Path


def install(release: Release, folder: Path) -> Installation:
    """Install `release` into `folder`, unless it is there.

    `InvalidInput` without npm, `StackError` with npm's own words when it fails; the next call starts that part anew.
    """
    package = node_package()
    node = _npm_install(folder / "node", package, release.node, "Node.js", ())
    app = _npm_install(folder / "app", "openclaw", release.version, "OpenClaw", release.npm_flags, release)
    return Installation(node=node / package / "bin" / "node", program=app / "openclaw" / "openclaw.mjs")


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
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_SHOWN_LINES:])
        raise StackError(f"npm failed with exit code {done.returncode} in {folder}: {said}")


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
