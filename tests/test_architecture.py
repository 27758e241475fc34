"""The layers: imports point one way, among packages, among folders and among files."""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "claas"
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "wire": {"core"},
    "tiny": {"core"},
    "models": {"core", "tiny"},
    "training": {"core"},
    "engines": {"core", "wire", "training", "models"},
    "results": {"core", "wire"},
    "dashboard": {"core", "wire", "results"},
    "api": {"core", "wire", "engines", "results", "dashboard"},
    "eval": {"core", "wire", "results", "api", "dashboard"},
    "bench": {"core", "wire", "tiny", "models", "results", "eval", "dashboard"},
    "openclaw": {"core", "wire"},
}
"""`eval` hosts the embedded stack's API in process and ends a run with its report; it reaches any server over HTTP."""

MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.glob("**/*.py"))
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in inner}
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name for name in names if name in MODULES and name != "claas"}


def require_no_circle(graph: Mapping[str, Iterable[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_imports_follow_the_layers() -> None:
    upwards: dict[str, set[str]] = {}
    for path in ROOT.glob("*/**/*.py"):
        layer = path.relative_to(ROOT).parts[0]
        upwards[str(path.relative_to(ROOT))] = (
            {name.split(".")[1] for name in imported(path)} - ALLOWED[layer] - {layer}
        )
    assert len(upwards) > 200
    assert {path: layers for path, layers in upwards.items() if layers} == {}


def test_there_is_no_circle_among_packages() -> None:
    require_no_circle(ALLOWED)


def test_there_is_no_circle_among_files() -> None:
    require_no_circle({name: imported(path) for name, path in MODULES.items()})


def test_there_is_no_circle_among_folders() -> None:
    folders: dict[str, set[str]] = {}
    for path in MODULES.values():
        folder, others = path.parent, imported(path)
        inside = folders.setdefault(str(folder.relative_to(ROOT)), set())
        inside |= {str(MODULES[other].parent.relative_to(ROOT)) for other in others if MODULES[other].parent != folder}
    require_no_circle(folders)


def test_there_are_no_relative_imports_and_no_hidden_ones() -> None:
    paths = sorted(ROOT.glob("**/*.py"))
    assert [path for path in paths if "TYPE_CHECKING" in path.read_text()] == []
    assert [
        path for path in paths if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree(path)))
    ] == []


def test_no_class_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


BOUNDARIES = (
    *("eval/__main__.py", "api/__main__.py", "engines/modal/app.py", "eval/metrics/sandbox_child.py"),  # of a process
    *("engines/local/threads.py", "engines/local/score.py"),  # of a thread
    *("engines/tinker/calls.py", "engines/modal/engine.py", "engines/local/model_check.py"),  # of another's package
    *("bench/scoring.py", "bench/surroundings.py", "eval/loggers/sink.py"),  # too
)


def test_only_where_a_process_a_thread_or_a_package_ends_is_everything_caught() -> None:
    broad = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.glob("**/*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    ]
    assert all(place.startswith(BOUNDARIES) for place in broad), broad
