"""What is built, published and deployed: one version everywhere, commands that exist, and files their tools accept."""

import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import claas
from claas.api.__main__ import COMMAND as API
from claas.core.output import Shown
from claas.eval.__main__ import COMMAND as EVAL

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {"api": API, "eval": EVAL}


def documents(*names: str) -> list[Any]:
    return [each for name in names for each in yaml.safe_load_all((ROOT / name).read_text(encoding="utf-8"))]


def started(found: Any) -> Iterator[list[str]]:
    """The arguments of `claas` in a description of containers: lists that begin with the name of a command."""
    if isinstance(found, dict):
        for name, each in found.items():
            yield from started(each if name != "profiles" else None)
    elif isinstance(found, list):
        words = found[1:] if found[:1] == ["claas"] else found
        if words and isinstance(words[0], str) and words[0] in COMMANDS:
            yield list(map(str, words))
        else:
            for each in found:
                yield from started(each)


def test_the_version_is_the_same_wherever_it_is_told() -> None:
    (citation,) = documents("CITATION.cff")
    assert citation["version"] == claas.__version__
    assert f"\n## [{claas.__version__}] - {citation['date-released']}\n" in (ROOT / "CHANGELOG.md").read_text()
    shown = re.findall(r'"version": "([\d.]+)"', (ROOT / "docs" / "command-line.md").read_text())
    assert set(shown) == {claas.__version__}


def test_every_command_that_a_container_runs_takes_its_arguments() -> None:
    found = [*started(documents("compose.yaml", "deploy/compose.gpu.yaml", "deploy/kubernetes.yaml"))]
    (in_image,) = re.findall(r'^CMD \["(api)", "(.*)"\]', (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert sorted(words[0] for words in found) == ["api", "api", "api", "eval", "eval"]
    for name, *arguments in (*found, in_image):
        filled = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", each) for each in arguments]
        with pytest.raises(Shown):
            COMMANDS[name].jobs([*filled, "--cfg", "job"])


def test_the_slurm_job_is_a_script_whose_command_takes_its_arguments() -> None:
    script = (ROOT / "deploy" / "slurm.sh").read_text()
    (command,) = re.findall(r"^exec claas eval (.*)$", script, re.MULTILINE)
    arguments = [re.sub(r"\$\{?\w+\}?", "7", each) for each in shlex.split(command) if each != "$@"]
    with pytest.raises(Shown):
        EVAL.jobs([*arguments, "--cfg", "job"])
    # Without B: Slurm signals the steps that srun starts, of which there is none, and not the script.
    assert re.findall(r"^#SBATCH --signal=(\S+)$", script, re.MULTILINE) == ["B:INT@60"]
    subprocess.run(["bash", "-n", ROOT / "deploy" / "slurm.sh"], check=True)


def test_the_image_is_given_every_file_that_it_copies() -> None:
    copied = re.findall(r"^COPY (.*) \./\S*$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    described = re.search(r'readme = "(.*)"', (ROOT / "pyproject.toml").read_text())
    assert described is not None
    assert names == let_through
    assert all((ROOT / name).exists() for name in names)
    assert {"pyproject.toml", "claas", "configs", described[1].partition("/")[0]} <= names


def tool(name: str) -> str:
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found, f"{name} is missing: pip install -c constraints.txt -e '.[deploy]'"
    return found


@pytest.mark.deploy
@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "Dockerfile"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml", "deploy/compose.gpu.yaml"],
        ["check-jsonschema", "--builtin-schema", "vendor.citation-file-format", "CITATION.cff"],
        ["kubernetes-validate", "--kubernetes-version", "1.30", "--strict", "deploy/kubernetes.yaml"],
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_the_tool_of_each_file_accepts_it(command: list[str]) -> None:
    done = subprocess.run([tool(command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.deploy
def test_a_package_index_accepts_what_is_built(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    built = sorted(map(str, tmp_path.iterdir()))
    assert [Path(name).suffix for name in built] == [".whl", ".gz"]
    done = subprocess.run([tool("twine"), "check", "--strict", *built], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
