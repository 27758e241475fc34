"""The layers: imports point one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "claas"
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "wire": {"core"},
    "tiny": {"core"},
    "training": {"core"},
    "engines": {"core", "wire", "training", "tiny"},
    "api": {"core", "wire", "engines", "dashboard"},
    "eval": {"core", "wire"},
    "dashboard": {"core", "wire", "eval"},
    "openclaw": {"core", "wire"},
}
EXCEPTIONS = {"eval/stacks/embedded.py": {"api"}, "eval/report.py": {"dashboard"}}
"""The harness hosts the API, and ends a run with its report; each in one place."""


def imported_layers(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    parts = (name.split(".") for name in names)
    return {part[1] for part in parts if part[0] == "claas" and len(part) > 1}


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_layers(path: Path) -> None:
    relative = path.relative_to(ROOT)
    layer = relative.parts[0]
    allowed = ALLOWED[layer] | {layer} | EXCEPTIONS.get(relative.as_posix(), set())
    assert imported_layers(path) <= allowed


@pytest.mark.parametrize("path", sorted(ROOT.glob("**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_there_are_no_relative_imports_and_no_hidden_ones(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))
    assert "TYPE_CHECKING" not in path.read_text()


PROCESS_BOUNDARIES = ("eval/__main__.py", "api/__main__.py", "engines/modal/host.py")


def test_only_where_a_process_ends_is_everything_caught() -> None:
    broad = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    ]
    assert all(place.startswith(PROCESS_BOUNDARIES) for place in broad), broad
