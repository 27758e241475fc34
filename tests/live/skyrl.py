"""A Tinker service on this machine, for tests: SkyRL in its own environment, serving the embedded model in float32."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import claas
from claas.tiny import WEIGHTS_DIR

ROOT = Path(claas.__file__).parents[1]
PYTHON = Path(os.environ.get("CLAAS_SKYRL_PYTHON", ROOT / ".venv-skyrl" / "bin" / "python"))
INSTALL = "python3 -m venv .venv-skyrl && .venv-skyrl/bin/pip install 'skyrl[tinker,jax]==0.3.0'"
MODEL = "claas-tiny"

_STARTED = "Using local model at"
_START_S = 180.0


@dataclass(frozen=True)
class Skyrl:
    """A running service."""

    url: str
    checkpoints: Path

    def saved(self) -> set[str]:
        """The names of the checkpoints to sample from."""
        return {path.name.removesuffix(".tar.gz") for path in self.checkpoints.glob("*/sampler_weights/*.tar.gz")}


@contextmanager
def skyrl(folder: Path) -> Iterator[Skyrl]:
    """The service, from when its engine is up, with everything it writes in `folder`."""
    _float32_model(folder / MODEL)
    port = _free_port()
    command = [
        *(str(PYTHON), "-m", "tests.live.skyrl_server", "api", "--base-model", MODEL, "--backend", "jax"),
        *("--backend-config", json.dumps({"max_lora_adapters": 16, "max_lora_rank": 32}), "--port", str(port)),
        *("--session-timeout-sec", "-1", "--checkpoints-base", str(folder / "checkpoints")),
        *("--database-url", f"sqlite:///{folder / 'tinker.db'}"),
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TINKER_", "CLAAS_"))},
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "HF_HUB_OFFLINE": "1",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(process, folder / "log")
        yield Skyrl(f"http://127.0.0.1:{port}", folder / "checkpoints")
    finally:
        process.terminate()  # it ends its engine, too
        process.wait(30)


def _float32_model(directory: Path) -> None:
    """A copy of the embedded model that is computed in float32, as its own engine does."""
    shutil.copytree(WEIGHTS_DIR, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))


def _wait_for(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while _STARTED not in (said := log.read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < until, f"the engine did not start within {_START_S:g} s: {said}"
        time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
