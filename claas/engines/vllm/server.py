"""A vLLM server of our own: started on loopback for one base model, told from its log, and stopped with us."""

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import httpx

from claas.core.errors import InvalidInput, StackError
from claas.core.files import writing
from claas.core.output import say
from claas.engines.versioned import MOST_TOP_LOGPROBS
from claas.engines.vllm.settings import COMMAND_VARIABLE, URL_VARIABLE, VllmSettings

_KEEPER = Path(__file__).with_name("keeper.py")
_ROWS = 64
_TOLD_EVERY_S = 15.0
_POLL_S = 0.2
_STOP_S = 30.0
_SHOWN_CHARACTERS = 300
_PREFIX = re.compile(r"^(?:\([^)]*\) )?(?:[A-Z]+ [\d-]+ [\d:.]+ )?(?:\[[^\]]*\] )?")
"""Of a line of the log: which process, how grave, when, and where in the source."""

_FAILURE = re.compile(r"(?:[\w.]*(?:Error|Exception)|vllm\b[\w\s]*: error): .+")
_CONSEQUENCE = "Engine core initialization failed"
_MOST_KV_BYTES = 2**30


@dataclass(frozen=True)
class BaseToServe:
    """The base model as a server is to serve it. `kv_bytes` are those of one token's keys and values."""

    directory: Path
    name: str
    dtype: str
    window: int
    kv_bytes: int
    linear_kinds: Sequence[str]
    on_gpu: bool


def arguments(base: BaseToServe, config: VllmSettings, port: int) -> list[str]:
    """What `vllm serve` is told. The user's own arguments come last, so that they win."""
    return [
        *("serve", str(base.directory), "--served-model-name", base.name, "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", base.dtype, "--max-model-len", str(base.window), "--max-num-seqs", str(_ROWS)),
        *("--generation-config", "vllm", "--max-logprobs", str(MOST_TOP_LOGPROBS), "--disable-uvicorn-access-log"),
        # One slot more than adapters: for the base model, which is asked as an adapter of zeros.
        *("--enable-lora", "--max-loras", str(config.vllm_adapters + 1)),
        *("--max-lora-rank", str(config.vllm_max_lora_rank), "--lora-target-modules", *base.linear_kinds),
        *(_FOR_GPU if base.on_gpu else _for_cpu(base)),
        *config.vllm_arguments,
    ]


_FOR_GPU = ("--gpu-memory-utilization", "0.5", "--enable-sleep-mode")
"""Half of the memory, as the learner holds the model, too; and the permission to give it up during an update."""


def _for_cpu(base: BaseToServe) -> list[str]:
    """Without chunked prefill, as a seed of a request ends vLLM 0.32 where a chunk's token is discarded."""
    row = base.kv_bytes * base.window
    room = max(row, min(_ROWS * row, _MOST_KV_BYTES))
    return ["--enforce-eager", "--no-enable-chunked-prefill", "--kv-cache-memory-bytes", str(room)]


def environment(ours: Mapping[str, str], key: str, *, on_gpu: bool) -> dict[str, str]:
    """What the server finds in its environment: ours, without our secrets and our Python's paths."""
    kept = {name: value for name, value in ours.items() if not name.startswith(("CLAAS_", "PYTHON", "VLLM_API_KEY"))}
    return {
        "VLLM_SERVER_DEV_MODE": "1",  # for /sleep, /wake_up, /pause and /resume
        **kept,
        "VLLM_API_KEY": key,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        **({} if on_gpu else {"TORCH_COMPILE_DISABLE": "1"}),  # else the first log probabilities take 15 s
    }


def program_of(config: VllmSettings) -> str:
    """The program that starts a server. Raises `InvalidInput` where there is none."""
    named = config.vllm_command or os.environ.get(COMMAND_VARIABLE) or "vllm"
    program = which(named)
    if program is None:
        raise InvalidInput(
            f"there is no program {named!r} that starts vLLM: set vllm_command or {COMMAND_VARIABLE} to that of an "
            f"environment with vLLM, or vllm_url or {URL_VARIABLE} to the address of a server (docs/vllm.md)"
        )
    return os.path.abspath(program)


class VllmServer:
    """A running server, and its log. It ends with this process, however that ends."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, key: str, log: Path) -> None:
        self._process = process
        self.url = url
        self.key = key
        self._log = log

    @classmethod
    def start(cls, base: BaseToServe, config: VllmSettings, log: Path) -> "VllmServer":
        """Start one and wait until it answers. Raises `StackError` with what its log says where it does not."""
        program, log = program_of(config), log.absolute()
        port, key = _free_port(), secrets.token_hex(16)
        command = [sys.executable, str(_KEEPER), str(log), program, *arguments(base, config, port)]
        with writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.unlink(missing_ok=True)
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            env=environment(os.environ, key, on_gpu=base.on_gpu),
            cwd=log.parent,
            start_new_session=True,  # so that Ctrl-C is ours to answer
        )
        server = cls(process, f"http://127.0.0.1:{port}", key, log)
        with ExitStack() as on_failure:
            on_failure.callback(server.stop)
            server._wait(config.vllm_start_s)
            on_failure.pop_all()
        return server

    def trouble(self) -> str | None:
        """Why the server no longer runs; None while it does."""
        if self._process.poll() is None:
            return None
        return f"the vLLM server that was started here has ended: {self._reason()}; run the same command again"

    def stop(self) -> None:
        """End the server and all its processes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self, start_s: float) -> None:
        began = told = time.monotonic()
        say("vllm", f"starting; its log is {self._log}")
        while not self._answers():
            now = time.monotonic()
            if self._process.poll() is not None:
                raise StackError(f"vLLM did not start: {self._reason()}")
            if now - began > start_s:
                raise StackError(f"vLLM did not start within vllm_start_s={start_s:g} s: {self._reason()}")
            if now - told > _TOLD_EVERY_S:
                told = now
                say("vllm", f"still starting after {now - began:.0f} s: {last_said(self._lines())}")
            time.sleep(_POLL_S)
        say("vllm", f"ready after {time.monotonic() - began:.0f} s at {self.url}")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5.0, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def _reason(self) -> str:
        return f"{failure(self._lines())} (all of it in {self._log})"

    def _lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines() if self._log.exists() else []


def failure(log: Sequence[str]) -> str:
    """The last cause that a log names, else the last thing that it says."""
    said = _said(log)
    return next((line for line in said if _FAILURE.fullmatch(line) and _CONSEQUENCE not in line), last_said(log))


def last_said(log: Sequence[str]) -> str:
    """The last line of a log that says something."""
    return next(iter(_said(log)), "its log is empty")


def _said(log: Sequence[str]) -> list[str]:
    """What a log says, the last thing first."""
    return [said[:_SHOWN_CHARACTERS] for line in reversed(log) if (said := _PREFIX.sub("", line).strip())]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
