"""The scripts that pages load: plotly's, where its package has it, and our own, each under a name with its hash."""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from claas.core.errors import NotFound, StackError

ASSETS_ADDRESS = "/v1/eval/assets"
PLOTLY = "plotly.js"

PLOTLY_STYLE_HASH = "sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o="
"""The hash of the style sheet for maps that plotly 7.1 adds to a page as it loads. No chart of ours needs it: a
browser that refuses another version's only says so in its console."""

ASSET_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
"""What every asset is sent with: under one name it never changes."""

_STATIC = Path(__file__).with_name("static")
_HASH_DIGITS = 16


@dataclass(frozen=True)
class Asset:
    """One script, held compressed. `name` is what it is served under: it changes whenever the script does."""

    name: str
    gzipped: bytes

    @property
    def content(self) -> bytes:
        """The script as it was before it was compressed."""
        return gzip.decompress(self.gzipped)


def asset(script: str) -> Asset:
    """The asset of `plotly.js`, or of a script of the folder `static` by its file name; `NotFound` for another."""
    if script not in set(_scripts()):
        raise NotFound(f"there is no script {script!r}; there are {', '.join(_scripts())}")
    return _load(script)


def asset_served_as(name: str) -> Asset:
    """The asset of this served name; `NotFound` when it is none, or one of another version."""
    for script in _scripts():
        if name.startswith(f"{script.removesuffix('.js')}-") and _load(script).name == name:
            return _load(script)
    raise NotFound(f"there is no asset {name!r}, or no longer: reload the page that named it")


def address(script: str) -> str:
    """Where the API serves a script."""
    return f"{ASSETS_ADDRESS}/{asset(script).name}"


def _scripts() -> Iterator[str]:
    yield PLOTLY
    yield from sorted(path.name for path in _STATIC.glob("*.js"))


@cache
def _load(script: str) -> Asset:
    """Once a process: plotly's 4.8 MB take 1.4 MB of memory and a quarter of a second."""
    path = _plotly() if script == PLOTLY else _STATIC / script
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StackError(f"cannot read {path}: {error.strerror}; install claas and plotly anew") from error
    release = f"{version('plotly')}-" if script == PLOTLY else ""
    digest = hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]
    return Asset(f"{script.removesuffix('.js')}-{release}{digest}.js", gzip.compress(content, mtime=0))


def _plotly() -> Path:
    """Its JavaScript, found without importing the package, which takes long."""
    package = find_spec("plotly")
    if package is None or not package.submodule_search_locations:
        raise StackError("charts need the package plotly, which is not installed; pip install 'plotly>=6'")
    return Path(package.submodule_search_locations[0], "package_data", "plotly.min.js")
