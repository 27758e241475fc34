"""The API in a process of its own, on a free port."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import claas

ROOT = Path(claas.__file__).parents[1]


@contextmanager
def served(directory: Path, *settings: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    inherited = {name: value for name, value in os.environ.items() if name != "CLAAS_API_KEY"}
    process = subprocess.Popen(
        [sys.executable, "-m", "claas.api", "port=0", *settings],
        cwd=directory,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"claas {claas.__version__} serves claas-tiny at http://127.0.0.1:"), line
        url = line.split()[-1]
        assert process.stdout.readline() == f"results of runs at {url}/v1/eval, feedback at {url}/v1/dashboard\n"
        yield process, url
    finally:
        process.kill()
        process.communicate()
