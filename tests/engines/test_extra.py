"""Without the `local` extra, the engine says what to install."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["torch", "peft"])
def test_a_missing_package_is_named_with_what_to_install(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from claas.core.errors import MissingExtra\n"
        "try:\n    import claas.engines.local.engine\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{package} is not installed; install it with: pip install 'claas[local]'\n"


@pytest.mark.parametrize(
    ("mode", "package"), [("local", "torch"), ("tinker", "tinker"), ("tinker", "transformers"), ("modal", "modal")]
)
def test_the_api_names_the_extra_of_its_mode(mode: str, package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from claas.api.config import ApiConfig\n"
        "from claas.api.modes import open_engine\n"
        "from claas.core.errors import MissingExtra\n"
        f"try:\n    open_engine(ApiConfig(mode={mode!r}))\n"
        "except MissingExtra as error:\n    print(error)"
    )
    environment = {**os.environ, "CLAAS_TINKER_API_KEY": "tml-key"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == f"{package} is not installed; install it with: pip install 'claas[{mode}]'\n"
