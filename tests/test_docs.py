"""What the README and the docs name exists: files, modules, links and targets of make."""

import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from matplotlib.figure import Figure

from claas.core.output import Shown
from tests.test_architecture import ALLOWED

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md", "claas/tiny/MODEL_CARD.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
ids = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@ids
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(
        r"(?<![\w./])(?:claas|tests|configs|docs|benchmarks)/[\w./-]*\w", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@ids
def test_every_module_class_and_function_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w./-])claas(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8")))
    assert sorted(name for name in named if not can_be_imported(name)) == []


@ids
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not leads_somewhere(link, page)] == []


@ids
def test_every_target_of_make_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)) <= targets


@ids
def test_every_command_that_a_page_shows_takes_its_arguments(page: Path) -> None:
    """Those of the benchmarks and of the API; `--cfg job` reads the settings, and runs nothing."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    shown = re.findall(r"python -m (claas\.(?:bench|api)\S*)(.*)", "\n".join(blocks).replace("\\\n", " "))
    for name, arguments in shown:
        command = getattr(module_of(name), "COMMAND", None)
        if command is not None and "--list-tasks" not in arguments:
            with pytest.raises(Shown):
                command.jobs([*shlex.split(arguments, comments=True), "--cfg", "job"])


@ids
def test_every_adapter_that_a_page_asks_for_is_called_as_its_run_calls_it(page: Path) -> None:
    shown = page.read_text(encoding="utf-8").replace("\\\n", " ")
    asked = re.findall(r"(eval-concise[\w-]*)[^`\n]* store_dir=data/evals/(\w+)/stack", shown)
    assert [adapter for adapter, run in asked if adapter != f"eval-concise-{run}"] == []


def test_the_page_of_speed_names_every_benchmark() -> None:
    source, page = (ROOT / "benchmarks" / "__main__.py").read_text(), (ROOT / "docs" / "speed.md").read_text()
    listed = re.search(r"The names are (.*?)\. ", page, re.DOTALL)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed[1]) == re.findall(r'^    "(\w+)": ', source, re.MULTILINE)


def test_the_layer_map_is_the_one_that_is_enforced() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {package: set(re.findall(r"`(\w+)`", allowed)) for package, allowed in rows} == ALLOWED


def module_of(command: str) -> ModuleType:
    """What `python -m` runs."""
    module = importlib.import_module(command)
    return importlib.import_module(f"{command}.__main__") if hasattr(module, "__path__") else module


def can_be_imported(name: str) -> bool:
    """Whether this is a module of ours, or what one of them defines."""
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.util.find_spec(name) is not None or hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(module), attribute) if importlib.util.find_spec(module) else False


def leads_somewhere(link: str, page: Path) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_notebook_runs_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last cell shows answers that only followed the preference after the last update."""
    notebook = json.loads((ROOT / "docs" / "results.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(ROOT / "docs")
    monkeypatch.setattr("matplotlib.pyplot.figure", lambda **settings: Figure(**settings))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert set(names["heldout"]["update"]) == {0, 1, 2, 3, 4}
    assert len(names["axes"].lines) == len(names["runs"]) == 2
    assert 0 < len(names["gained"]) < 16
