"""Requests whose body is larger than the API takes are refused before they are held in memory."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claas.api.errors import error_response


class BodyLimit:
    """ASGI middleware: 413 for a body beyond `max_bytes`, whether its length was declared or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _declared_length(scope) > self._max_bytes:
            await error_response(413, self._message)(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, self._message)
            return message

        return counted

    @property
    def _message(self) -> str:
        return f"the body is larger than {self._max_bytes} bytes; send less, or raise max_body_bytes"


def _declared_length(scope: Scope) -> int:
    """The body's length as the client gives it; 0 when it gives none, and then the bytes are counted."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    given = next((value for name, value in headers if name == b"content-length"), b"")
    return int(given) if given.isdigit() else 0
