"""Checks that a request must pass before it is answered: its host, its key, its size and its encoding."""

import base64
import binascii
import hmac
import ipaddress
import re
from collections.abc import Iterator
from typing import Any, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claas.api.errors import error_response
from claas.core.errors import Forbidden
from claas.core.settings import API_KEY_VARIABLE

_OPEN_PATHS = ("/", "/health", "/v1/chat")
_SCRIPTS = "/v1/eval/assets/"
LABELS = "/labels"
"""Below `/v1/eval`: what pages themselves may change."""

_PAGES = ("/v1/eval", "/v1/bench", "/v1/dashboard", "/docs")


class BearerAuth:
    """ASGI middleware: every path needs `Authorization: Bearer <key>`, but `/`, `/health`, and what holds no data.

    That is the scripts of pages, and the chat page, which asks for the key and sends it itself.
    Pages take the key as the password of HTTP Basic, too, since that is what browsers can ask for. Nothing else does
    but the pages' own requests, which name them as their origin: a browser sends such a password along with whatever
    another site makes it ask for.
    """

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope) or self._admits(scope):
            await self._app(scope, receive, send)
            return
        message = f"this API needs the header 'Authorization: Bearer <key>' with the key in its {API_KEY_VARIABLE}"
        challenge = 'Basic realm="CLaaS: the key is the password", charset="UTF-8"' if _is_page(scope) else "Bearer"
        refusal = error_response(401, message, headers={"WWW-Authenticate": challenge})
        await refusal(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        given = _header_values(scope, b"authorization")
        scheme, _, token = given[0].partition(b" ") if given else (b"", b"", b"")
        if scheme.lower() == b"basic" and (_is_page(scope) or _is_of_a_page(scope)):
            return hmac.compare_digest(_password(token), self._api_key)
        return hmac.compare_digest(token.strip(), self._api_key) and scheme.lower() == b"bearer"


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return path in _OPEN_PATHS or path.startswith(_SCRIPTS)


def _header_values(scope: Scope, name: bytes) -> list[bytes]:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return [value for header, value in headers if header == name]


def _is_page(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "GET" and any(path == page or path.startswith(f"{page}/") for page in _PAGES)


def _is_of_a_page(scope: Scope) -> bool:
    """Whether the request for this change comes from a page of this API."""
    if scope["method"] != "POST" or scope["path"] != f"/v1/eval{LABELS}":
        return False
    origin, host = _header_values(scope, b"origin"), _header_values(scope, b"host")
    return len(origin) == len(host) == 1 and origin[0].partition(b"://")[2] == host[0]


def require_own_origin(request: Request) -> None:
    """`Forbidden` for what a browser sends on behalf of another site; who is no browser names no origin."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Forbidden(f"a page of {origin} may not change what this API keeps")


def _password(token: bytes) -> bytes:
    """The password in `user:password` (base64); empty where `token` is anything else."""
    try:
        return base64.b64decode(token.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def require_key_off_loopback(host: str, api_key: str | None) -> None:
    """Refuse to serve an API without a key where other machines could reach it."""
    if api_key is None and not is_loopback(host):
        raise Forbidden(
            f"host={host} can be reached from other machines; set {API_KEY_VARIABLE} to require a key, or use "
            "host=127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether `host` is reached from this machine only; a name other than localhost is taken not to be."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HostCheck:
    """ASGI middleware: 403 for a request addressed to a name that is not this machine's loopback.

    A page on the web may let its own name point to 127.0.0.1 and then ask what it likes as if this API were its own
    server (DNS rebinding); its browser still sends that name as `Host`. With a key no such check is needed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        values = _header_values(scope, b"host") if scope["type"] == "http" else []
        foreign = [host for value in values if not _is_own(host := value.decode("latin-1"))]
        if not foreign:
            await self._app(scope, receive, send)
            return
        message = (
            f"this API has no key and answers only to this machine's own names, not to {foreign[0]!r}; use "
            f"http://127.0.0.1, or set {API_KEY_VARIABLE}"
        )
        await error_response(403, message, code="forbidden")(scope, receive, send)


_HOST = re.compile(r"(?:\[([^\[\]]+)\]|([^:@\[\]]+))(?::[0-9]*)?")


def _is_own(host: str) -> bool:
    """Whether this is a name or address of this machine's loopback, with or without a port: `[::1]:8080`."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback((match[1] or match[2]).lower())


_MARKS = {b",": 1, b'"': 1, b"[": 4, b"{": 4}
"""What a body is read for, and how much work each is."""

_MOST_MARKS = 2**18


class BodyLimit:
    """ASGI middleware: 413 for a body beyond `max_bytes`, whether its length was declared or not.

    Also for one of more lists, objects, texts and numbers than are read in an instant: a million empty lists take
    seconds in which no other request is answered.
    """

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
        received = marks = 0

        async def counted() -> Message:
            nonlocal received, marks
            message = await receive()
            body: bytes = message.get("body", b"")
            received += len(body)
            marks += sum(weight * body.count(mark) for mark, weight in _MARKS.items())
            if received > self._max_bytes:
                raise HTTPException(413, self._message)
            if marks > _MOST_MARKS:
                raise HTTPException(
                    413,
                    f"the body has more than {_MOST_MARKS} commas, quotes and opening brackets, each of which counts "
                    "as four; send less at once",
                )
            return message

        return counted

    @property
    def _message(self) -> str:
        return f"the body is larger than {self._max_bytes} bytes; send less, or raise max_body_bytes"


def _declared_length(scope: Scope) -> int:
    """The body's length as the client gives it; 0 when it gives none, and then the bytes are counted."""
    given = next(iter(_header_values(scope, b"content-length")), b"")
    return int(given) if given.isdigit() else 0


_HALF_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")


async def require_text(request: Request) -> None:
    """Refuse a body that is not UTF-8, as JSON has to be, or that holds half of a character, naming the field.

    What parsed it also reads UTF-16 and UTF-32, and lets half of a surrogate pair through, spelled out or encoded: that
    is in no tokenizer, file or reply.
    """
    body = await request.body()
    is_utf8 = _is_utf8(body)
    if is_utf8 and not _HALF_ESCAPED.search(body):
        return
    try:
        parsed = await request.json()  # parsed already, unless it was not declared as JSON
    except (ValueError, RecursionError):
        return  # and then no endpoint takes it
    for where, text in _texts(parsed):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = text[error.start]
            raise _refusal(where, f"half of a character, {half!r}, is no text; send it whole") from None
    if not is_utf8:
        raise _refusal((), "it must be text in UTF-8")


def _is_utf8(body: bytes) -> bool:
    """Whether this may be JSON in UTF-8, which has no zero bytes; every other encoding of JSON has some."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in body


def _refusal(where: tuple[str | int, ...], reason: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", *where), "type": "value_error", "msg": reason}])


def _texts(body: object) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string in a parsed body and where it stands, names of fields first; however deep, without recursion."""
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), body)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, str):
            yield where, value
        elif isinstance(value, dict):
            fields = cast(dict[str, Any], value)
            yield from ((where, name) for name in fields)
            waiting.extend(((*where, name), inner) for name, inner in fields.items())
        elif isinstance(value, list):
            waiting.extend(((*where, index), inner) for index, inner in enumerate(cast(list[Any], value)))
