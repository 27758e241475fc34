"""How much a command loads before it does anything: help, a mistake and a completion are answered within a second."""

import subprocess
import sys

import pytest

from claas.__main__ import COMMANDS

SLOW_TO_LOAD = (
    *("datasets", "fastapi", "lm_eval", "matplotlib", "nltk", "pandas", "peft", "plotly"),
    *("scipy.optimize", "scipy.special", "scipy.stats", "tinker", "torch", "transformers", "uvicorn"),
)


def loaded_by(code: str) -> str:
    """What of the slow packages a fresh interpreter has loaded after `code`, and what the command printed."""
    told = f"import sys\n{code}\nprint('loaded:', [name for name in {SLOW_TO_LOAD} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True).stdout


def test_no_command_loads_what_is_slow_before_it_is_needed() -> None:
    imports = "\n".join(f"import {door.module}" for door in COMMANDS.values())
    assert loaded_by(imports) == "loaded: []\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["num_stps=20"], ["preferences=[concice]"]])
def test_help_and_mistakes_of_a_run_load_nothing_slow(arguments: list[str]) -> None:
    printed = loaded_by(f"from claas.eval.__main__ import main\nmain({arguments})")
    assert printed.endswith("loaded: []\n")


def test_help_of_the_api_loads_no_server() -> None:
    printed = loaded_by("sys.argv = ['claas.api', '--help']\nfrom claas.api.__main__ import main\nmain()")
    assert "--config-name" in printed
    assert printed.endswith("loaded: []\n")
