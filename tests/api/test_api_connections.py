"""A client that takes its time loses its connection, and not more: over real sockets."""

import asyncio
import errno
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import h11
import httpx
import pytest
import uvicorn

from claas.api.connections import LimitedConnection, loop_exception_handler
from claas.api.server import listening

ENDED = threading.Event()


class Impatient(LimitedConnection):
    longest_s: ClassVar[Mapping[Any, float]] = {h11.IDLE: 0.2, h11.SEND_BODY: 0.2}
    stalled_s = 0.2


class Few(LimitedConnection):
    @classmethod
    def most(cls) -> int:
        return 3


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the size of the body, or with more than a socket holds."""
    size = 0
    more = True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = b"a" * 50_000_000 if scope["path"] == "/much" else str(size).encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})
    ENDED.set()


@contextmanager
def serving(kind: type[LimitedConnection]) -> Generator[tuple[str, int]]:
    """A server in a thread."""
    with listening("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        server = uvicorn.Server(uvicorn.Config(app, http=kind, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield address
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def closed(connection: socket.socket) -> bool:
    """Whether the other side closes, sooner or later."""
    connection.settimeout(20)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na"],
)
def test_a_request_that_is_not_whole_in_time_is_not_waited_for(sent: bytes) -> None:
    with serving(Impatient) as address, socket.create_connection(address) as connection:
        connection.sendall(sent)
        assert closed(connection)


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    ENDED.clear()
    with serving(Impatient) as address, socket.create_connection(address) as connection:
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
        assert ENDED.wait(20)  # the app waited for the client until then
        assert closed(connection)


def test_a_client_that_keeps_its_connection_is_answered_again() -> None:
    with serving(Impatient) as address, httpx.Client(base_url=f"http://127.0.0.1:{address[1]}") as http:
        assert [http.post("/", content=b"a" * size).text for size in (3, 1_000_000, 0)] == ["3", "1000000", "0"]
        assert len(http.get("/much").content) == 50_000_000


def test_whoever_waits_longest_makes_room() -> None:
    with serving(Few) as address:
        waiting = [socket.create_connection(address) for _ in range(3)]
        for connection in waiting:
            connection.sendall(b"GET / HT")
        assert httpx.get(f"http://127.0.0.1:{address[1]}", trust_env=False).text == "0"
        assert closed(waiting[0])
        waiting[2].sendall(b"TP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert waiting[2].recv(12) == b"HTTP/1.1 200"
        for connection in waiting:
            connection.close()


def test_that_no_more_files_can_be_opened_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def meet() -> None:
        loop = asyncio.get_running_loop()
        handle = loop_exception_handler()
        for _ in range(100):
            handle(loop, {"message": "socket.accept()", "exception": OSError(errno.EMFILE, "Too many open files")})
        handle(loop, {"message": "another", "exception": OSError(errno.EIO, "Input/output error")})

    asyncio.run(meet())
    assert [message.partition("\n")[0] for message in caplog.messages] == [
        "no more files can be opened (ulimit -n); connections wait until others have ended",
        "another",
    ]
