"""Without the `local` extra, the engine says what to install."""

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
