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
from claas.core.settings import API_KEY_VARIABLE
from claas.wire.adapters import ErrorBody

B = TypeVar("B", bound=BaseModel)

TRANSIENT = frozenset({429, 502, 503, 504})
_TIMEOUT = httpx.Timeout(600.0, connect=10.0, pool=None)
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
    """How often one request is sent at most, and the waits between: doubling, with jitter, within bounds.

    The defaults wait 3.5 s in all, on average: a hiccup is bridged, and a dead server is not waited for.
    """

    attempts: int = 4
    first_delay_s: float = 0.5
    longest_delay_s: float = 60.0

    def delay_s(self, attempt: int, jitter: float, asked_s: float) -> float:
        """The wait after failed attempt 1, 2, ...; `jitter` in [0, 1); not less than `asked_s`, the server's wish."""
        backoff = self.first_delay_s * 2 ** (attempt - 1) * (0.5 + jitter)
        return min(max(backoff, asked_s), self.longest_delay_s)


class HttpClient:
    """Requests to one server, at most `max_concurrency` of them in flight.

    Only what may come right is tried again: connections that fail or break, timeouts, 429, 502, 503 and 504.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_concurrency: int,
        seed: int,
        api_key: str | None = None,
        key_variable: str = API_KEY_VARIABLE,
        started_by: str = "python -m claas.api --config-name local",
        transport: httpx.AsyncBaseTransport | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.base_url = base_url
        self._key_variable, self._started_by = key_variable, started_by
        self._retries = retries or Retries()
        self._jitter = random.Random(seed)
        self._slots = asyncio.Semaphore(max_concurrency)
        self._client = httpx.AsyncClient(
            base_url=base_url,
            transport=transport,
            timeout=_TIMEOUT,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=httpx.Limits(max_connections=max_concurrency, max_keepalive_connections=max_concurrency),
        )

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._client.aclose()

    async def get(self, path: str, into: type[B], params: Mapping[str, str] | None = None) -> B:
        """GET a body."""
        return await self._send(self._client.build_request("GET", path, params=params), into)

    async def post(self, path: str, body: BaseModel, into: type[B], headers: Mapping[str, str] | None = None) -> B:
        """POST a body and read one. Sent again after a transient failure, so it must be safe to repeat."""
        return await self._send(self._with_body("POST", path, body, headers or {}), into)

    async def put(self, path: str, body: BaseModel, into: type[B]) -> B:
        """PUT a body and read one."""
        return await self._send(self._with_body("PUT", path, body, {}), into)

    def _with_body(self, method: str, path: str, body: BaseModel, headers: Mapping[str, str]) -> httpx.Request:
        content, kind = body.model_dump_json(exclude_none=True), {"Content-Type": "application/json"}
        return self._client.build_request(method, path, content=content, headers={**kind, **headers})

    async def _send(self, request: httpx.Request, into: type[B]) -> B:
        """The body of the successful response.

        `Refused` on 4xx, a bare `StackError` when nothing answers at the address, `RequestLost` otherwise.
        """
        attempt = 0
        while True:
            async with self._slots:
                try:
                    outcome = await self._client.send(request)
                except httpx.TransportError as error:
                    outcome = error
            if isinstance(outcome, httpx.Response) and outcome.status_code not in TRANSIENT:
                return _parsed(self._accepted(outcome), into)
            attempt += 1
            if attempt == self._retries.attempts:
                raise self._given_up(outcome)
            asked_s = _retry_after_s(outcome) if isinstance(outcome, httpx.Response) else 0.0
            await asyncio.sleep(self._retries.delay_s(attempt, self._jitter.random(), asked_s))

    def _given_up(self, outcome: httpx.Response | httpx.TransportError) -> StackError:
        tries = f"after {self._retries.attempts} tries"
        if isinstance(outcome, httpx.Response):
            path = outcome.request.url.path
            return RequestLost(f"{path} failed with HTTP {outcome.status_code} {tries}: {_message(outcome)}")
        if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):
            return StackError(
                f"nothing answers at {self.base_url} ({outcome}); start it with: {self._started_by}, then run the same "
                "command again"
            )
        return RequestLost(f"{type(outcome).__name__} {tries}: {outcome}")

    def _accepted(self, response: httpx.Response) -> httpx.Response:
        status, path = response.status_code, response.request.url.path
        if response.is_success:
            return response
        if status == 401:
            raise Refused(status, f"{self.base_url} wants a key: set {self._key_variable} to it ({_message(response)})")
        if 400 <= status < 500:
            raise Refused(status, f"{path} was refused with HTTP {status}: {_message(response)}")
        raise RequestLost(f"{path} failed with HTTP {status}: {_message(response)}")


def _message(response: httpx.Response) -> str:
    """The server's own message; of a body that is not ours, its first words."""
    try:
        return ErrorBody.model_validate_json(response.content).error.message
    except ValidationError:
        words = " ".join(response.text.split())
        return words[:_SHOWN_CHARACTERS] or response.reason_phrase or "an empty reply"


def _parsed(response: httpx.Response, into: type[B]) -> B:
    try:
        return into.model_validate_json(response.content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the body"
        raise Malformed(
            f"HTTP {response.status_code} from {response.request.url.path} is not the reply it should be "
            f"({where}: {problem['msg']}): {_message(response)}"
        ) from None


def _retry_after_s(response: httpx.Response) -> float:
    """Seconds the server asked to wait, as a number or as a date; 0 when it did not, or not readably."""
    asked = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return 0.0
