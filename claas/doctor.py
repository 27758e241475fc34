"""`claas doctor`: what is installed, what works on this machine, and what each missing part would give."""

import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict
from rich.text import Text

from claas.bench.judge.settings import KEY_VARIABLE as JUDGE_KEY
from claas.core.errors import ExitCode
from claas.core.output import Done, Parser, ended
from claas.core.settings import API_KEY_VARIABLE, TOKEN_VARIABLE
from claas.core.terminal import plain_table, results_console
from claas.core.text import one_line
from claas.engines.tinker.names import KEY_VARIABLE as TINKER_KEY
from claas.engines.vllm.settings import COMMAND_VARIABLE as VLLM_COMMAND
from claas.engines.vllm.settings import KEY_VARIABLE as VLLM_KEY
from claas.models.unpacked import CACHE_VARIABLE, cache_root
from claas.results.user import USER_KEY_VARIABLE

HUB = "https://huggingface.co"
_HUB_WAIT_S = 3.0
_TRUE = ("1", "ON", "YES", "TRUE")
_MOST_CLOCK_ERROR_S = 60.0
_LEAST_FREE_GB = 2.0
_PORTS = {8080: "python -m claas.api", 18789: "python -m claas.openclaw"}


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at. `ok` is None of what is merely not there; `needed`: by `claas eval` as it comes.

    `gives` says what it is for, and where it is missing, how it is had.
    """

    what: str
    state: str
    ok: bool | None
    gives: str
    needed: bool = False


class Diagnoses(BaseModel):
    """Everything that was looked at. `able`: `claas eval` as it comes can run here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    able: bool
    findings: list[Diagnosis]


EXTRAS = (
    ("local", ("torch", "transformers", "peft"), "models on this machine, the embedded one, too", True),
    ("gguf", ("gguf",), "base models as .gguf files, smollm2 among them", False),
    ("bench", ("lm-eval",), "standard benchmarks", False),
    ("tinker", ("tinker",), "mode=tinker: training and sampling at a service", False),
    ("modal", ("modal",), "mode=modal: a GPU by the second", False),
    ("data", ("pandas", "pyarrow"), "runs as pandas frames and parquet files", False),
    ("sweeps", ("hydra-joblib-launcher", "hydra-submitit-launcher", "hydra-optuna-sweeper"), "sweeps elsewhere", False),
    ("tensorboard", ("tensorboard",), "logger=[tensorboard]: event files", False),
    ("wandb", ("wandb",), "logger=[wandb]: Weights & Biases", False),
    ("mlflow", ("mlflow-skinny", "alembic", "sqlalchemy"), "logger=[mlflow]", False),
    ("trackio", ("trackio",), "logger=[trackio]", False),
)
PROGRAMS = {"node": "python -m claas.openclaw", "vllm": "mode=vllm, where it starts the server itself"}
KEYS = {
    API_KEY_VARIABLE: "the key of an API that wants one",
    TOKEN_VARIABLE: "the token of an OpenClaw gateway",
    TINKER_KEY: "mode=tinker",
    VLLM_KEY: "a vLLM server that wants a key",
    JUDGE_KEY: "a judge's endpoint",
    USER_KEY_VARIABLE: "user=llm, the endpoint of the model that plays the user",
    "HF_TOKEN": "models on the hub that ask for an account",
}


def findings() -> list[Diagnosis]:
    """Everything that is looked at; the hub is asked, and nothing is written."""
    programs = [_program(name, purpose) for name, purpose in PROGRAMS.items()]
    machine = [_device(), *map(_port, _PORTS), *_disks()]
    return [_python(), *_extras(), *programs, *machine, *_hub_and_clock(), *_keys()]


def _python() -> Diagnosis:
    state = f"{platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Diagnosis("Python", state, True, "", needed=True)


def _extras() -> list[Diagnosis]:
    found: list[Diagnosis] = []
    for extra, packages, purpose, needed in EXTRAS:
        versions = {package: _version(package) for package in packages}
        missing = [package for package, version in versions.items() if version is None]
        state = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
        mend = f"{purpose}; pip install 'claas[{extra}]'" if missing else purpose
        there = None if missing and not needed else not missing
        found.append(Diagnosis(f"extra {extra}", state or "not installed", there, mend, needed))
    return found


def _program(name: str, purpose: str) -> Diagnosis:
    path = shutil.which(os.environ.get(VLLM_COMMAND) or name if name == "vllm" else name)
    return Diagnosis(name, path or "not on PATH", None if path is None else True, purpose)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device() -> Diagnosis:
    purpose = "models beyond a few hundred million parameters"
    try:
        torch: Any = import_module("torch")
    except ImportError:
        return Diagnosis("GPU", "unknown without torch", None, purpose)
    if not torch.cuda.is_available():
        return Diagnosis("GPU", f"none that torch {torch.__version__} can use", None, purpose)
    free, total = torch.cuda.mem_get_info()
    state = f"{torch.cuda.get_device_name()}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
    return Diagnosis("GPU", state, True, purpose)


def _keys() -> list[Diagnosis]:
    return [
        Diagnosis(name, "set" if os.environ.get(name) else "not set", True if os.environ.get(name) else None, purpose)
        for name, purpose in KEYS.items()
    ]


def _hub_and_clock() -> list[Diagnosis]:
    """The hub, and this machine's clock against the hub's."""
    address, purpose = os.environ.get("HF_ENDPOINT", HUB), "base models by name; without it a folder, or a .gguf file"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        return [Diagnosis("hub", f"not asked: HF_HUB_OFFLINE={os.environ['HF_HUB_OFFLINE']}", None, purpose)]
    try:
        reply = httpx.head(address, timeout=_HUB_WAIT_S, follow_redirects=True)
    except httpx.HTTPError as error:
        return [Diagnosis("hub", f"{address} does not answer: {type(error).__name__}", None, purpose)]
    except (httpx.InvalidURL, OSError, ValueError) as error:  # of the environment: an address, a proxy, a certificate
        return [Diagnosis("hub", f"{address} cannot be asked: {one_line(error)}", False, purpose)]
    hub = Diagnosis("hub", f"{address} answers", True, purpose)
    try:
        error_s = time.time() - parsedate_to_datetime(reply.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return [hub]
    right = abs(error_s) < _MOST_CLOCK_ERROR_S
    return [
        hub,
        Diagnosis("clock", f"{error_s:+.0f} s from the hub's", right, "times on record, and secure connections"),
    ]


def _port(port: int) -> Diagnosis:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            return Diagnosis(
                f"port {port}", error.strerror or str(error), None, f"{_PORTS[port]}; port=... takes another"
            )
    return Diagnosis(f"port {port}", "free", True, _PORTS[port])


def _disks() -> list[Diagnosis]:
    return [
        _disk("this folder", Path.cwd(), "runs: some 40 MB for six steps", needed=True),
        _disk("cache", cache_root(), f"GGUF files, unpacked; {CACHE_VARIABLE} names another", needed=False),
    ]


def _disk(what: str, folder: Path, purpose: str, *, needed: bool) -> Diagnosis:
    folder = Path(os.path.abspath(folder))
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        return Diagnosis(what, f"{folder} cannot be written", False, purpose, needed)
    free_gb = shutil.disk_usage(there).free / 1e9
    return Diagnosis(what, f"{folder}, {free_gb:.0f} GB free", free_gb >= _LEAST_FREE_GB, purpose, needed)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: that of a mistake where `claas eval` as it comes cannot run here."""
    return ended("claas.doctor", _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    description = "What is installed, what works on this machine, and what each missing part would give."
    Parser("claas doctor", description).parsed(arguments)
    found = findings()
    able = all(each.ok for each in found if each.needed)
    table = plain_table("", "what", "state", "for", left=("what", "state", "for"))
    for each in found:
        table.add_row(*map(Text, (_MARKS[each.ok], each.what, each.state, each.gives)))
    results_console().print(table)
    said = "claas eval runs here" if able else "claas eval cannot run here; see what is marked with x"
    print(said)
    result = Diagnoses(able=able, findings=found)
    return Done(result=result) if able else Done(ExitCode.MISTAKE, result, said)


_MARKS = {True: "ok", None: "-", False: "x"}


if __name__ == "__main__":
    sys.exit(main())
