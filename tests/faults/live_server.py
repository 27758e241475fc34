"""The real API in a process of its own, on one store and one port, however often it is killed."""

import socket
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx

from tests.faults import processes


@dataclass
class LiveServer:
    """`python -m claas.api` with everything it keeps below `folder`."""

    folder: Path
    port: int = field(default_factory=lambda: free_port())
    _process: BaseProcess | None = None

    @property
    def url(self) -> str:
        """Its address, the same after every restart."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        """Its adapters, rollouts, receipts and feedback log."""
        return self.folder / "store"

    @property
    def is_up(self) -> bool:
        """Started and not killed since."""
        return self._process is not None

    def start(self) -> None:
        """Begin to listen, which it does before its model is loaded."""
        self._process = processes.start("claas.api", self._arguments(), self._log)

    def await_ready(self) -> None:
        """Until it answers."""
        process, deadline = self._process, time.monotonic() + 60
        assert process is not None
        while process.is_alive() and time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/health", timeout=30)
                return
            except httpx.TransportError:
                time.sleep(0.02)
        raise AssertionError(self._log.read_text())

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            assert self._process.exitcode == processes.KILLED, self._log.read_text()
            self._process = None

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _arguments(self) -> list[str]:
        return [f"port={self.port}", f"store_dir={self.store}", f"feedback_log_dir={self.store / 'feedback'}"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
