"""Who may use the API: anyone on this machine's loopback, elsewhere only the holder of the key."""

import base64
import binascii
import hmac
import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

from claas.api.errors import error_response
from claas.core.errors import Forbidden
from claas.core.secrets import API_KEY_VARIABLE

_OPEN_PATHS = ("/", "/health")
_PAGES = ("/v1/eval", "/v1/dashboard")


class BearerAuth:
    """ASGI middleware: every path but `/` and `/health` needs `Authorization: Bearer <key>`.

    Pages take the key as the password of HTTP Basic, too, since that is what browsers can ask for. Nothing else does: a
    browser sends such a password along with whatever another site makes it ask for.
    """

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN_PATHS or self._admits(scope):
            await self._app(scope, receive, send)
            return
        message = f"this API needs the header 'Authorization: Bearer <key>' with the key in its {API_KEY_VARIABLE}"
        challenge = 'Basic realm="CLaaS: the key is the password", charset="UTF-8"' if _is_page(scope) else "Bearer"
        refusal = error_response(401, message, headers={"WWW-Authenticate": challenge})
        await refusal(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if given else (b"", b"", b"")
        if scheme.lower() == b"basic" and _is_page(scope):
            return hmac.compare_digest(_password(token), self._api_key)
        return hmac.compare_digest(token.strip(), self._api_key) and scheme.lower() == b"bearer"


def _is_page(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "GET" and any(path == page or path.startswith(f"{page}/") for page in _PAGES)


def _password(token: bytes) -> bytes:
    """Of `user:password` in base64; nothing of anything else."""
    try:
        return base64.b64decode(token.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def require_key_off_loopback(host: str, api_key: str | None) -> None:
    """Refuse to listen where other machines could reach an API that has no key."""
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
