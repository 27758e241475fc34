"""The real API on a real socket, around an engine of the test's choice."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.engines.base import Engine


@contextmanager
def live_api(folder: Path, engine: Engine) -> Generator[str, None, None]:
    """The address of an API that serves `engine` from another thread."""
    config = ApiConfig(store_dir=str(folder / "store"), feedback_log_dir=str(folder / "feedback"))
    app = create_app(engine, config)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
