"""Without its extra, an engine says what to install, and the doctor can still be asked."""

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
    ("mode", "package"),
    [("local", "torch"), ("vllm", "peft"), ("tinker", "tinker"), ("tinker", "transformers"), ("modal", "modal")],
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


def test_the_doctor_needs_no_extra() -> None:
    missing = ("torch", "transformers", "peft", "safetensors", "tinker", "modal", "lm_eval", "gguf")
    code = f"import sys; sys.modules |= dict.fromkeys({missing!r})\nimport claas.doctor"
    subprocess.run([sys.executable, "-c", code], check=True)
