"""The code that decides a run's numbers: the modules of its verifiers and metrics with what those import, the harness'
own choice of prompts, and the engine where this process hosts it."""

import ast
import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.util import resolve_name
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, cast

import claas
from claas.core.settings import MODES
from claas.eval.metrics.metric import Metric
from claas.eval.protocols.arms import measured_of, with_arms
from claas.eval.protocols.chosen import protocol_of
from claas.eval.protocols.tracks import Track
from claas.results.code import NO_SOURCE, Code
from claas.results.manifest import installed, package_versions
from claas.results.settings import FEEDBACK, EvalConfig

_SAMPLING = "claas.eval.run.step"
"""Modules that decide which prompts a step samples, and what feedback it gives."""

_DECIDING = (
    _SAMPLING,
    "claas.eval.run.user",
    "claas.core.hindsight",
    "claas.core.text",
    "claas.core.thinking",
    "claas.bench",
    "claas.eval.metrics",
    "claas.eval.protocols",
    "claas.results.evidence",
    "claas.results.judging",
)
"""The modules of this package that turn answers into numbers; the others move, show or describe them."""

_STARTED_BY = {"claas.eval.metrics.sandbox": {"claas.eval.metrics.sandbox_child"}}
"""Modules that are run as programs of their own, which nothing imports."""

_TRAINING = ("claas.training", "claas.engines")
"""Modules that all hosted engines share."""


def code_of(config: EvalConfig, tracks: Sequence[Track], metrics: Mapping[str, Metric]) -> Code:
    """The code that measures and, where this process hosts the engine, the code that trains."""
    verifiers = [
        verifier
        for track in tracks
        for asked in (*track.preference.probes(), *track.preference.beyond_scope())
        for verifier in (asked.verifier, asked.opposite)
    ]
    measured = [metric for track in tracks for metric in measured_of(track, metrics).values()]
    arms = [with_arms] if any(track.arm != FEEDBACK for track in tracks) else []
    sources, packages = _sources([*verifiers, *measured, protocol_of(config.protocol.kind), *arms])
    if config.claas_url is None:
        mode = MODES[config.mode]
        engine = filter(None, (mode.engine, mode.learns_with))
        sources |= {name: _package_digest(name) for name in (*_TRAINING, *engine)}
    return Code(versions=package_versions(config) | packages, sources=dict(sorted(sources.items())))


def _sources(parts: Iterable[object]) -> tuple[dict[str, str], dict[str, str]]:
    """The digests of the modules that define these objects, and the versions of the packages that those import."""
    waiting = {_SAMPLING, *(name for part in parts for name in _modules_of(part, set()))}
    digests, packages = dict[str, str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in digests or not _decides(name):
            continue
        source = _read(name)
        digests[name] = NO_SOURCE if source is None else hashlib.sha256(source).hexdigest()
        imported = _imported_by(getattr(sys.modules.get(name), "__package__", None) or "", source or b"")
        waiting |= imported | _STARTED_BY.get(name, set())
        packages |= {each.partition(".")[0] for each in imported} - sys.stdlib_module_names - {"claas"}
    versions = {package: installed(package) for package in packages}
    # None is a package of the user's own, or one that is called otherwise than its module
    return digests, {package: version for package, version in versions.items() if version is not None}


def _modules_of(part: object, seen: set[int]) -> Iterator[str]:
    """The modules of an object's class or function, and of everything that it is composed of."""
    if part is None or id(part) in seen or isinstance(part, str | bytes | int | float | complex):
        return
    seen.add(id(part))
    if isinstance(part, Mapping):
        inner: Iterable[object] = cast(Mapping[object, object], part).values()
    elif isinstance(part, list | tuple | set | frozenset):
        inner = cast(Iterable[object], part)
    elif isinstance(part, type | FunctionType | BuiltinFunctionType):
        yield part.__module__
        return
    elif isinstance(part, MethodType):
        inner = (part.__func__, part.__self__)
    elif isinstance(part, functools.partial):
        whole = cast("functools.partial[Any]", part)
        inner = (whole.func, whole.args, whole.keywords)
    else:
        yield type(part).__module__
        inner = _held_by(part) if _decides(type(part).__module__) else ()
    for each in inner:
        yield from _modules_of(each, seen)


def _held_by(part: object) -> Iterable[object]:
    if is_dataclass(part):
        return [getattr(part, field.name, None) for field in fields(part)]
    return cast(dict[str, object], getattr(part, "__dict__", {})).values()


def _decides(name: str) -> bool:
    """Whether a module's code helps to compute the numbers, and is not that of an installed package."""
    top, module = name.partition(".")[0], sys.modules.get(name)
    if top == "claas":
        return any(f"{name}.".startswith(f"{each}.") for each in _DECIDING) and _place(name) is not None
    if module is None or top in sys.stdlib_module_names:
        return False
    place = _place(name)
    if place is None:
        return not hasattr(module, "__path__")  # that is a folder without code of its own
    return _INSTALLED.isdisjoint(place.parts)


_INSTALLED = frozenset({"site-packages", "dist-packages"})


def _place(name: str) -> Path | None:
    """The file of a module, or None. Modules of this package need not be loaded."""
    if name.partition(".")[0] == "claas":
        place = _ROOT.joinpath(*name.split(".")).with_suffix(".py")
        return place if place.is_file() else None
    place = getattr(sys.modules.get(name), "__file__", None)
    return None if place is None else Path(place)


_ROOT = Path(claas.__file__).parents[1]


def _read(name: str) -> bytes | None:
    place = _place(name)
    try:
        return place.read_bytes() if place is not None and place.suffix == ".py" else None
    except OSError:
        return None


@functools.lru_cache(maxsize=1024)
def _imported_by(package: str, source: bytes) -> frozenset[str]:
    """Every module that the source of one of `package` imports, wherever in it; what is imported from a module may be
    one, too."""
    imported = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            imported |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return frozenset(imported)


def _package_digest(name: str) -> str:
    """The sha256 of the modules in a folder of this package, without its subfolders."""
    digest = hashlib.sha256()
    for path in sorted(_ROOT.joinpath(*name.split(".")).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
