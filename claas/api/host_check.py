"""An API without a key answers only to this machine's own names, so that no web page can pass as a local client."""

from starlette.types import ASGIApp, Receive, Scope, Send

from claas.api.auth import is_loopback
from claas.api.errors import error_response
from claas.core.secrets import API_KEY_VARIABLE


class HostCheck:
    """ASGI middleware: 403 for a request addressed to a name that is not this machine's loopback.

    A page on the web may let its own name point to 127.0.0.1 and then ask what it likes as if this API were its own
    server (DNS rebinding); its browser still sends that name as `Host`. With a key no such check is needed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        foreign = [] if scope["type"] != "http" else [host for host in _hosts(scope) if not is_loopback(_name(host))]
        if not foreign:
            await self._app(scope, receive, send)
            return
        message = (
            f"this API has no key and answers only to this machine's own names, not to {foreign[0]!r}; use "
            f"http://127.0.0.1, or set {API_KEY_VARIABLE}"
        )
        await error_response(403, message, code="forbidden")(scope, receive, send)


def _hosts(scope: Scope) -> list[str]:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for name, value in headers if name == b"host"]


def _name(host: str) -> str:
    """The host without its port: `127.0.0.1` of `127.0.0.1:8080`, `::1` of `[::1]:8080`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
