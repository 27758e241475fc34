"""How much a command loads before it does anything: help, a mistake and a completion are answered within a second."""

import subprocess
import sys

import pytest

COMMANDS = (
    "claas.api.__main__",
    "claas.bench.__main__",
    "claas.bench.cohort",
    "claas.bench.compare",
    "claas.bench.convert.__main__",
    "claas.bench.export",
    "claas.bench.import_results",
    "claas.bench.judge.__main__",
    "claas.bench.loss.__main__",
    "claas.bench.probe",
    "claas.bench.scan.__main__",
    "claas.dashboard.__main__",
    "claas.eval.__main__",
    "claas.eval.aggregate",
    "claas.eval.audit",
    "claas.eval.recompute.__main__",
    "claas.openclaw.__main__",
)
SLOW_TO_LOAD = (
    *("datasets", "fastapi", "lm_eval", "matplotlib", "nltk", "pandas", "peft", "plotly"),
    *("scipy.optimize", "scipy.special", "scipy.stats", "tinker", "torch", "transformers", "uvicorn"),
)


def loaded_by(code: str) -> str:
    """What of the slow packages a fresh interpreter has loaded after `code`, and what the command printed."""
    told = f"import sys\n{code}\nprint('loaded:', [name for name in {SLOW_TO_LOAD} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True).stdout


def test_no_command_loads_what_is_slow_before_it_is_needed() -> None:
    imports = "\n".join(f"import {command}" for command in COMMANDS)
    assert loaded_by(imports) == "loaded: []\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["num_stps=20"], ["preferences=[concice]"]])
def test_help_and_mistakes_of_a_run_load_nothing_slow(arguments: list[str]) -> None:
    printed = loaded_by(f"from claas.eval.__main__ import main\nmain({arguments})")
    assert printed.endswith("loaded: []\n")


def test_help_of_the_api_loads_no_server() -> None:
    printed = loaded_by("sys.argv = ['claas.api', '--help']\nfrom claas.api.__main__ import main\nmain()")
    assert "--config-name" in printed
    assert printed.endswith("loaded: []\n")
