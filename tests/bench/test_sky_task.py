"""Every command of the task for SkyPilot, as a shell calls it, is one that our parsers and lm-eval's accept."""

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from claas.api.__main__ import COMMAND as API
from claas.bench.__main__ import COMMAND as BENCH
from claas.bench.compare import COMMAND as COMPARE
from claas.core.command_line import Command
from claas.core.output import Shown
from claas.core.settings import config_root

TASK = yaml.safe_load((config_root() / "bench" / "interop" / "sky" / "bench.yaml").read_text())
OURS: dict[str, Command[Any]] = {command.module: command for command in (API, BENCH, COMPARE)}
DISCARD = 4


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What the task calls, where every program only writes down how it was called. The decision is DISCARD."""
    home = tmp_path_factory.mktemp("home")
    programs, log = home / "programs", home / "log"
    programs.mkdir()
    for program in ("python", "python3", "pip", "curl", "lm-eval", "cp"):
        written = f"open({str(log)!r}, 'a').write(json.dumps([{program!r}, *sys.argv[1:]]) + '\\n')"
        ends = f"sys.exit({DISCARD} if 'claas.bench.compare' in sys.argv else 0)"
        (programs / program).write_text(f"#!{sys.executable}\nimport json, sys\n{written}\n{ends}\n")
        (programs / program).chmod(0o755)
    (home / "claas" / "bin").mkdir(parents=True)
    (home / "claas" / "bin" / "activate").touch()
    shutil.copy(programs / "pip", home / "claas" / "bin" / "pip")
    environment = {"HOME": str(home), "PATH": f"{programs}:/usr/bin:/bin", **TASK["envs"]}
    ends = [
        subprocess.run(["bash", "-c", TASK[part]], cwd=home, env=environment, timeout=60).returncode
        for part in ("setup", "run")
    ]
    assert ends == [0, DISCARD]
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_every_command_of_ours_takes_its_arguments(called: list[list[str]]) -> None:
    ours = {line[2]: line[3:] for line in called if line[:2] == ["python", "-m"]}
    assert ours.keys() == OURS.keys()
    said = ""
    for module, arguments in ours.items():
        with pytest.raises(Shown) as shown:
            OURS[module].jobs([*arguments, "--cfg", "job"])
        said += f"{shown.value.text}\n"
    assert said.count("base_model: Qwen/Qwen3-0.6B\n") == 2
    assert "adapters:\n- eval-concise@20\n" in said
    assert "a: results/Qwen-Qwen3-0.6B\nb: results/eval-concise@20\n" in said


@pytest.mark.bench
def test_lm_eval_takes_its_arguments(called: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    harness = pytest.importorskip("lm_eval._cli.harness")
    (line,) = (line for line in called if line[0] == "lm-eval")
    monkeypatch.setattr("sys.argv", line)
    asked = harness.HarnessCLI().parse_args()
    assert asked.model_args["model"] == TASK["envs"]["ADAPTER"]
    assert asked.tasks == ["hellaswag"]


def test_results_are_kept_whatever_is_decided(called: list[list[str]]) -> None:
    program, *arguments, kept = called[-1]
    assert (program, arguments) == ("cp", ["-r", "results/."])
    assert kept.endswith("/kept/")
    assert "~/kept" in TASK["file_mounts"]


def test_what_it_installs_is_there() -> None:
    (extra,) = re.findall(r"-e '\.\[(\w+)\]'", TASK["setup"])
    pyproject = config_root().parent / "pyproject.toml"
    assert re.search(rf"^{extra} = ", pyproject.read_text(), re.MULTILINE)
    assert (config_root().parent / "constraints.txt").is_file()
