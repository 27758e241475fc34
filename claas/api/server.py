"""Serving the API: the socket is opened before the model is loaded, and closed in order after a signal."""

import asyncio
import errno
import gc
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

import claas
from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.api.connections import LimitedConnection, loop_exception_handler
from claas.api.guards import require_key_off_loopback
from claas.api.modes import open_engine, require_startable
from claas.core.errors import ExitCode, InvalidInput, StackError
from claas.core.files import working_in
from claas.core.output import say


def serve(config: ApiConfig, api_key: str | None) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight are answered first."""
    require_key_off_loopback(config.host, api_key)
    require_startable(config.mode)
    with listening(config.host, config.port) as listener, _holding(Path(config.store_dir)):
        engine = open_engine(config)
        with ExitStack() as on_failure:
            on_failure.callback(lambda: asyncio.run(engine.close()))
            app = create_app(engine, config, api_key=api_key)
            on_failure.pop_all()  # from here on the app's lifespan closes the engine
        _end_quietly()
        where = _url(config.host, listener.getsockname()[1])
        print(f"claas {claas.__version__} serves {engine.base_model} at {where}", flush=True)
        print(f"results of runs at {where}/v1/eval, feedback at {where}/v1/dashboard", flush=True)
        gc.collect()
        gc.freeze()  # what is there for good is not looked through again and again while nobody is answered
        _Server(app, config.shutdown_s).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn with limits for each connection. After a signal it waits so long for the requests under way, and as long
    again for whatever else has to end; then it ends all the same."""

    def __init__(self, app: FastAPI, shutdown_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=LimitedConnection,
                ws="none",
                lifespan="on",
                log_level="warning",
                access_log=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=math.ceil(shutdown_s),
            )
        )
        self._longest_end_s = 2 * shutdown_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(loop_exception_handler())
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        late = threading.Timer(self._longest_end_s, _end_now)
        late.daemon = True
        late.start()


_BACKLOG = 128


def _end_now() -> None:
    """End the process whatever its threads wait for: what it has answered is on disk."""
    say("claas.api", "something does not end; stopped without it")
    sys.stderr.flush()
    os._exit(ExitCode.COMPLETE)


def listening(host: str, port: int) -> socket.socket:
    """A listening socket on `host` and `port`; connections wait until the server accepts them."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InvalidInput(f"host={host} is not an address that can be found") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StackError(f"port {port} on {host} is in use; choose another one with port=...") from error
        raise InvalidInput(f"cannot listen on host={host} port={port}: {error.strerror}") from error
    return listener


@contextmanager
def _holding(store: Path) -> Generator[None, None, None]:
    """Lock the store for this process: two APIs on one store would drop each other's records."""
    with working_in(store, ".lock", f"another API works on store_dir={store}; choose another one"):
        yield


def _end_quietly() -> None:
    """uvicorn ends in order and then raises the signal again: by then it has done its work."""

    def ignore(number: int, frame: FrameType | None) -> None:
        return None

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ignore)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
