"""The examples of the README are what they say they are."""

import re
import sys
from pathlib import Path

import pytest
import yaml

import claas
from claas.eval.config.catalog import load_preference

README = (Path(claas.__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_preference_of_the_readme_loads_with_the_verifier_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (preference,) = blocks("yaml")
    (verifier,) = (block for block in blocks("python") if "Verifier" in block)
    (tmp_path / "my_verifiers.py").write_text(verifier)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "shouting.yaml"
    path.write_text(preference)
    assert load_preference(str(path)).name == yaml.safe_load(preference)["name"]
    sys.modules.pop("my_verifiers")


def test_the_main_command_and_the_test_command_are_those_of_the_continuous_integration() -> None:
    (main, tests, *_) = blocks("bash")
    script = (Path(claas.__file__).parents[1] / ".ci" / "run").read_text()
    assert tests.strip() in script
    assert main.strip().endswith("python -m claas.eval 'preferences=[concise]' num_steps=20")
