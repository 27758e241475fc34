"""The layers: imports point one way, among packages, among folders and among files."""

import ast
from collections.abc import Iterable, Mapping
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


def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in inner}
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name for name in names if name in MODULES and name != "claas"}


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


def require_no_circle(graph: Mapping[str, Iterable[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_layers(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    assert {name.split(".")[1] for name in imported(path)} <= ALLOWED[layer] | {layer}


def test_there_is_no_circle_among_packages() -> None:
    require_no_circle(ALLOWED)


def test_there_is_no_circle_among_files() -> None:
    require_no_circle(IMPORTS)


def test_there_is_no_circle_among_folders() -> None:
    folders: dict[str, set[str]] = {}
    for name, others in IMPORTS.items():
        folder = MODULES[name].parent
        inside = folders.setdefault(str(folder.relative_to(ROOT)), set())
        inside |= {str(MODULES[other].parent.relative_to(ROOT)) for other in others if MODULES[other].parent != folder}
    require_no_circle(folders)


@pytest.mark.parametrize("path", sorted(ROOT.glob("**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_there_are_no_relative_imports_and_no_hidden_ones(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))
    assert "TYPE_CHECKING" not in path.read_text()


def test_no_class_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
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
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    ]
    assert all(place.startswith(BOUNDARIES) for place in broad), broad
