"""A real OpenClaw gateway, and the real API behind it, each in a process of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

import claas
from claas.wire.feedback import Rollout

INSTALLED = Path(claas.__file__).parents[1] / ".openclaw"
PROMPT = "You are a helpful assistant, reached through OpenClaw."
TOKEN, KEY = "a-token-for-these-tests", "a-key-for-these-tests"
CHAT = "/v1/chat/completions"


def require_installed(version: str) -> None:
    """Skip what needs this OpenClaw unless it is installed."""
    if not (INSTALLED / version / "app" / ".installed").is_file():
        command = f"python -m claas.openclaw --install-only --release {version}"
        pytest.skip(f"OpenClaw {version} is not installed; install it with: {command}")


@dataclass
class Processes:
    """The API and the gateway; `api_port` is that of the gateway's provider, whether something listens there or not."""

    folder: Path
    version: str
    api_port: int = field(default_factory=lambda: free_port())
    gateway_port: int = field(default_factory=lambda: free_port())
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def gateway_files(self) -> Path:
        """What the gateway reads and writes."""
        return INSTALLED / self.version / f"port-{self.gateway_port}"

    def start_api(self, port: int | None = None) -> str:
        """Its address, once it answers. A port of its own makes it another API than the gateway's provider."""
        at = port or self.api_port
        store = self.folder / "store"
        url = f"http://127.0.0.1:{at}"
        settings = [f"port={at}", f"store_dir={store}", f"feedback_log_dir={store / 'feedback'}"]
        self._start("claas.api", settings, lambda: httpx.get(f"{url}/health").is_success)
        return url

    def start_gateway(self, *arguments: str) -> None:
        """Until it answers."""
        places = ["--folder", str(INSTALLED), "--port", str(self.gateway_port), "--api-url", f"{self.api_url}/v1"]
        asked = ["--release", self.version, *places, "--system-prompt", PROMPT, *arguments]
        self._start("claas.openclaw", asked, lambda: httpx.post(f"{self.gateway_url}{CHAT}").status_code == 401)

    def kill(self, module: str) -> None:
        """SIGKILL; it is gone when this returns."""
        process = self._running.pop(module)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End whatever runs, in order."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def say(self, prompt: str, **fields: Any) -> str:
        """What the gateway answers."""
        body = {"model": "openclaw", "messages": [{"role": "user", "content": prompt}], **fields}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        reply = httpx.post(f"{self.gateway_url}{CHAT}", json=body, headers=headers, timeout=120)
        assert reply.is_success, reply.text
        return reply.json()["choices"][0]["message"]["content"]

    def resolve(self, **asked: str) -> Rollout:
        """What the API has on record."""
        headers = {"Authorization": f"Bearer {KEY}"}
        reply = httpx.post(f"{self.api_url}/v1/rollouts/resolve", json=asked, headers=headers, timeout=60)
        assert reply.is_success, reply.text
        return Rollout.model_validate_json(reply.content)

    def _start(self, module: str, arguments: list[str], answers: Callable[[], bool]) -> None:
        log = self.folder / f"{module}.log"
        with log.open("ab") as output:
            environment = {**os.environ, "OPENCLAW_GATEWAY_TOKEN": TOKEN, "CLAAS_API_KEY": KEY}
            command = [sys.executable, "-m", module, *arguments]
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=output, stderr=output)
        self._running[module] = process
        deadline = time.monotonic() + 180
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if answers():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(log.read_text())


@contextmanager
def processes(folder: Path, version: str) -> Generator[Processes]:
    """The processes, none of which runs yet; at the end all are ended, and the gateway's own files are gone."""
    require_installed(version)
    folder.mkdir(parents=True, exist_ok=True)
    made = Processes(folder, version)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.gateway_files, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
