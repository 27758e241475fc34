"""The real API around a scripted engine, on a port of its own, which can go away and come back."""

import socket
import threading
from pathlib import Path

import uvicorn

from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.api.server import listening
from tests.fakes.engine import FakeEngine


class Site:
    """What is served below `url`: the runs in `results`. Everything else that the API keeps is in `scratch`."""

    def __init__(self, results: Path, scratch: Path, api_key: str | None = None) -> None:
        self.results, self._scratch, self._api_key = results, scratch, api_key
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The same before and after an absence."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        return self._thread is not None

    def start(self) -> None:
        """Listen; connections wait until the app has started."""
        listener = listening("127.0.0.1", self._port)
        self._port = listener.getsockname()[1]
        config = ApiConfig(
            results_dir=str(self.results),
            bench_dir=str(self.results / ".bench"),
            store_dir=str(self._scratch / "store"),
            feedback_log_dir=str(self._scratch / "log"),
        )
        app = create_app(FakeEngine(self._scratch / "engine"), config, api_key=self._api_key)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        self._thread = threading.Thread(target=self._run, args=(self._server, listener))
        self._thread.start()

    def stop(self) -> None:
        """Answer what is under way, and go; requests are refused when this returns."""
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join()
        self._thread = None

    @staticmethod
    def _run(server: uvicorn.Server, listener: socket.socket) -> None:
        with listener:
            server.run(sockets=[listener])
