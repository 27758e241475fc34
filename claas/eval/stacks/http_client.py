"""One pooled HTTP client, bounded and retrying in its one `_send`, failing with one error per kind of failure."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from claas.core.errors import InvalidInput, StackError
from claas.core.http_pools import HttpPools
from claas.core.redaction import keep_secret
from claas.core.settings import API_KEY_VARIABLE
from claas.eval.stacks.silence import Silence
from claas.wire.adapters import ErrorBody

B = TypeVar("B", bound=BaseModel)

TRANSIENT = frozenset({408, 425, 429, 502, 503, 504})
MOST_BYTES = 64 * 2**20
"""A reply beyond this is none that was asked for: an answer of 8,000 tokens with 20 alternatives each is 13 MiB."""

_CONNECT_S = 10.0
_SHOWN_CHARACTERS = 300


class RequestLost(StackError):
    """One request failed for good: retries used up, a server error, or a reply that cannot be read."""


class Malformed(RequestLost):
    """A reply came, and is not what was asked for."""


class Refused(InvalidInput):
    """The server refused what was asked; `status` is 4xx and the message is the server's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Retries:
    """How long a request that failed is sent again, and the waits between: doubling, with jitter, within bounds.

    A server that has never answered may be none, and is tried again for `first_contact_s` at most.
    """

    for_s: float = 120.0
    first_contact_s: float = 5.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 10.0
    longest_asked_s: float = 60.0

    def delay_s(self, attempt: int, jitter: float, asked_s: float) -> float:
        """The wait after failed attempt 1, 2, ...; `jitter` in [0, 1); not less than `asked_s`, the server's wish."""
        backoff = self.first_delay_s * 2 ** min(attempt - 1, 30) * (0.5 + jitter)
        return max(min(backoff, self.longest_delay_s), min(asked_s, self.longest_asked_s))


@dataclass(frozen=True)
class _Reply:
    """A reply that came whole."""

    status: int
    headers: httpx.Headers
    content: bytes


class HttpClient:
    """Requests to one server, at most `max_concurrency` of them in flight.

    Only what may come right is tried again: connections that fail or break, timeouts, and `TRANSIENT` statuses. Each
    try has `timeout_s` for the whole of its reply; None is for a server in this process, waited for however long it
    takes.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_concurrency: int,
        seed: int,
        timeout_s: float | None = None,
        api_key: str | None = None,
        key_variable: str = API_KEY_VARIABLE,
        started_by: str = "python -m claas.api --config-name local",
        transport: httpx.AsyncBaseTransport | None = None,
        retries: Retries | None = None,
        silence: Silence | None = None,
    ) -> None:
        keep_secret(api_key)
        self.base_url = base_url
        self._key_variable, self._started_by = key_variable, started_by
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._has_answered = False
        self._silence = silence or Silence(base_url)
        self._jitter = random.Random(seed)
        self._pools = HttpPools(
            base_url,
            max_concurrency,
            httpx.Timeout(timeout_s, connect=_CONNECT_S, pool=None),
            {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
            transport,
        )

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._pools.close()

    async def get(self, path: str, into: type[B], params: Mapping[str, str] | None = None) -> B:
        """GET a body."""
        return await self._send(self._pools.requests.build_request("GET", path, params=params), into)

    async def post(
        self,
        path: str,
        body: BaseModel,
        into: type[B],
        headers: Mapping[str, str] | None = None,
        *,
        urgent: bool = False,
    ) -> B:
        """POST a body and read one. Sent again after a transient failure, so it must be safe to repeat.

        An `urgent` request goes before those that wait until fewer are in flight.
        """
        return await self._send(self._with_body("POST", path, body, headers or {}), into, urgent=urgent)

    async def put(self, path: str, body: BaseModel, into: type[B]) -> B:
        """PUT a body and read one."""
        return await self._send(self._with_body("PUT", path, body, {}), into)

    def _with_body(self, method: str, path: str, body: BaseModel, headers: Mapping[str, str]) -> httpx.Request:
        content, kind = body.model_dump_json(exclude_none=True), {"Content-Type": "application/json"}
        return self._pools.requests.build_request(method, path, content=content, headers={**kind, **headers})

    async def _send(self, request: httpx.Request, into: type[B], *, urgent: bool = False) -> B:
        """The body of the successful response.

        `Refused` on 4xx, a bare `StackError` when nothing answers at the address, `RequestLost` otherwise.
        """
        path, tries, failing_since = request.url.path, 0, 0.0
        with self._silence.until_reply(path):
            while True:
                async with self._pools.free(urgent=urgent) as pool:
                    outcome = await self._outcome(pool, request)
                if isinstance(outcome, _Reply) and outcome.status not in TRANSIENT:
                    return _parsed(path, self._accepted(path, outcome), into)
                tries, now = tries + 1, time.monotonic()
                failing_since = failing_since or now
                left_s = failing_since + self._patience_s() - now
                if left_s <= 0:
                    raise self._given_up(path, outcome, tries)
                asked_s = _retry_after_s(outcome) if isinstance(outcome, _Reply) else 0.0
                await asyncio.sleep(min(left_s, self._retries.delay_s(tries, self._jitter.random(), asked_s)))

    async def _outcome(self, pool: httpx.AsyncClient, request: httpx.Request) -> _Reply | Exception:
        """One try: what came, or what went wrong that another try may mend."""
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await _reply(pool, request)
        except (httpx.RequestError, httpx.InvalidURL, TimeoutError) as error:
            self._silence.failed(_named(error, self._timeout_s))
            return error
        self._silence.broken()
        self._has_answered = True
        return reply

    def _patience_s(self) -> float:
        return self._retries.for_s if self._has_answered else min(self._retries.first_contact_s, self._retries.for_s)

    def _given_up(self, path: str, outcome: _Reply | Exception, tries: int) -> StackError:
        after = f"after {tries} tries" if tries > 1 else "at the first try"
        if isinstance(outcome, _Reply):
            return RequestLost(f"{path} failed with HTTP {outcome.status} {after}: {_message(outcome)}")
        if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):
            return StackError(
                f"nothing answers at {self.base_url} ({outcome}); start it with: {self._started_by}, then run the same "
                "command again"
            )
        return RequestLost(f"{path} failed {after}: {_named(outcome, self._timeout_s)}")

    def _accepted(self, path: str, reply: _Reply) -> _Reply:
        status = reply.status
        if 200 <= status < 300:
            return reply
        if status == 401:
            raise Refused(status, f"{self.base_url} wants a key: set {self._key_variable} to it ({_message(reply)})")
        if 400 <= status < 500:
            raise Refused(status, f"{path} was refused with HTTP {status}: {_message(reply)}")
        raise RequestLost(f"{path} failed with HTTP {status}: {_message(reply)}")


async def _reply(pool: httpx.AsyncClient, request: httpx.Request) -> _Reply:
    """The reply, read no further than `MOST_BYTES`.

    None is taken that is compressed, which was not asked for: a few bytes of it could be any number of them.
    """
    response = await pool.send(request, stream=True)
    try:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() != "identity":
            raise httpx.DecodingError(f"the reply says it is {encoding[:40]!r}, which was not asked for")
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if len(content) > MOST_BYTES:
                raise Malformed(f"the reply to {request.url.path} is longer than {MOST_BYTES // 2**20} MiB")
        return _Reply(response.status_code, response.headers, bytes(content))
    finally:
        await response.aclose()


def require_address(name: str, value: str, key_variable: str) -> None:
    """`InvalidInput` on what is no address, and on one that carries a key."""
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{name} is not an address: {error}; give one like http://127.0.0.1:8080") from error
    if url.userinfo or url.query:
        raise InvalidInput(f"{name} must not carry a key, which would be written to files; set {key_variable} instead")
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInput(f"{name} must be an address like http://127.0.0.1:8080, got {value!r}")


def _named(error: Exception, timeout_s: float | None) -> str:
    """The kind of a failure, and what it says for itself."""
    if isinstance(error, TimeoutError):
        return f"no whole reply came within {timeout_s:g} s (request_timeout_s)"
    return f"{type(error).__name__}: {error}"


def _message(reply: _Reply) -> str:
    """The server's own message; of a body that is not ours, its first words."""
    try:
        return ErrorBody.model_validate_json(reply.content).error.message
    except ValidationError:
        beginning = reply.content[: 10 * _SHOWN_CHARACTERS].decode("utf-8", "replace")
        return " ".join(beginning.split())[:_SHOWN_CHARACTERS] or "an empty reply"


def _parsed(path: str, reply: _Reply, into: type[B]) -> B:
    try:
        return into.model_validate_json(reply.content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the body"
        raise Malformed(
            f"HTTP {reply.status} from {path} is not the reply it should be ({where}: {problem['msg']}): "
            f"{_message(reply)}"
        ) from None


def _retry_after_s(reply: _Reply) -> float:
    """Seconds the server asked to wait, as a number or as a date; 0 when it did not, or not readably."""
    asked = reply.headers.get("Retry-After", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
