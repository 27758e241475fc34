"""An OpenAI-compatible endpoint beside the stack, never asked the same thing twice, nor beyond what it may cost."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import httpx
from pydantic import Field

from claas.core.errors import InvalidInput
from claas.core.files import append_line, dump_json, in_turn, read_records
from claas.core.redaction import without_known_secrets
from claas.eval.stacks.http_client import HttpClient, Malformed, Refused, Retries, require_address
from claas.results.endpoint import EndpointReply, EndpointSettings
from claas.wire import OpenAIBody

R = TypeVar("R", bound=EndpointReply)

OF_ONE_REQUEST = frozenset({400, 413, 422})
"""Refusals that may be about one request, such as one too long for the model's window; others meet all of them."""

_OF_KEYS = frozenset({401, 403})
_CHAT = "chat/completions"


class _Message(OpenAIBody):
    role: str = "assistant"
    content: str | None = None


class _Request(OpenAIBody):
    model: str
    messages: list[_Message]
    temperature: float | None = None
    seed: int
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _Choice(OpenAIBody):
    message: _Message


class _Usage(OpenAIBody):
    prompt_tokens: int | None = Field(default=None, ge=0, lt=2**31)
    completion_tokens: int | None = Field(default=None, ge=0, lt=2**31)


class _Reply(OpenAIBody):
    model: str | None = None
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class ReplyLog(Generic[R]):
    """A file of every reply that ever came, by what was asked; appended to as they come."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        self.path = path
        self.replies: list[R] = []
        self._by_request: dict[str, R] = {}
        mend = "put back a copy, or take the line out, and what it holds is asked again"
        for reply in read_records(path, kind, mend):
            self._keep(reply)

    def find(self, asked: str) -> R | None:
        """The reply to a request; None where it never came."""
        return self._by_request.get(asked)

    def append(self, reply: R) -> None:
        """Put a reply on the disk."""
        with in_turn(self.path.with_name(f".{self.path.name}.lock")):
            append_line(self.path, reply.model_dump_json())
        self._keep(reply)

    def _keep(self, reply: R) -> None:
        self.replies.append(reply)
        self._by_request[reply.asked] = reply


class Budget:
    """What may be spent, over all replies on record; None: any amount. What a request will cost is estimated.

    `cost` is of tokens read and written. Of each byte of a request as many tokens are expected as there ever were (one,
    while nothing is known), and as long a reply as ever came (`longest_reply`, while none did). A request that may not
    fit beside those under way waits for them; one that does not fit alone is refused, and with it all others.
    `setting` is what the limit is called, and `unit` what stands behind an amount.
    """

    def __init__(
        self, limit: float | None, cost: Callable[[float, float], float], longest_reply: int, setting: str, unit: str
    ) -> None:
        self.spent = 0.0
        self.refused: str | None = None
        self._limit, self._cost, self._longest_reply = limit, cost, longest_reply
        self._setting, self._unit = setting, unit
        self._under_way: list[float] = []
        self._tokens_per_byte = 0.0
        self._longest_seen = 0
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def room_for(self, n_bytes: int) -> AsyncGenerator[bool, None]:
        """Inside, a request of so many bytes may be under way; False where there is no room left for it."""
        async with self._settled:
            await self._settled.wait_for(lambda: self._fits(n_bytes) or not self._under_way)
            if not self._fits(n_bytes):
                self.refused = (
                    f"{self._setting}={self._limit:g} leaves no room for the next call, of up to "
                    f"{self._expected(n_bytes):.4f}{self._unit}: {self.spent:.4f}{self._unit} are spent; raise it and "
                    "run the same command again, which asks nothing twice"
                )
            expected = self._expected(n_bytes)
            self._under_way.append(expected)
        try:
            yield self.refused is None
        finally:
            async with self._settled:
                self._under_way.remove(expected)
                self._settled.notify_all()

    def count(self, reply: EndpointReply, n_bytes: int | None = None) -> None:
        """A reply that was paid for, to a request of so many bytes where that is known.

        `InvalidInput` where a budget cannot be kept, because tokens are not counted.
        """
        read, written = reply.prompt_tokens, reply.completion_tokens
        if read is None or written is None:
            if self._limit is not None:
                raise InvalidInput(
                    f"{reply.model or 'the endpoint'} does not say how many tokens it used, so {self._setting} cannot "
                    "be kept: leave it out"
                )
            return
        self.spent += self._cost(read, written)
        self._longest_seen = max(self._longest_seen, written)
        if n_bytes:
            self._tokens_per_byte = max(self._tokens_per_byte, read / n_bytes)

    def _expected(self, n_bytes: int) -> float:
        return self._cost(n_bytes * (self._tokens_per_byte or 1.0), self._longest_seen or self._longest_reply)

    def _fits(self, n_bytes: int) -> bool:
        if self._limit is None:
            return True
        return self.spent + sum(self._under_way) + self._expected(n_bytes) <= self._limit


@dataclass(frozen=True)
class ChatEndpoint(Generic[R]):
    """Asks. Every reply is on record before it is used, and counted against the budget."""

    settings: EndpointSettings
    budget: Budget
    log: ReplyLog[R]
    _client: HttpClient
    _slots: asyncio.Semaphore

    async def reply(
        self, message: str, *, seed: int, temperature: float | None, made: Callable[[EndpointReply], R]
    ) -> R | None:
        """The reply to a message, from the record where it is there; None where the budget is used up.

        `made` is what goes on record of one that came. `RequestLost`: none came. `Refused`: the endpoint says why.
        """
        request = self._request(message, seed, temperature)
        body = dump_json(request.model_dump(exclude_none=True))
        asked = hashlib.sha256(f"{self.settings.base_url}\n{body}".encode()).hexdigest()
        known = self.log.find(asked)
        if known is not None:
            return known
        n_bytes = len(message.encode())
        async with self._slots, self.budget.room_for(n_bytes) as is_room:
            if not is_room:
                return None
            came = await self._client.post(_CHAT, request, _Reply)
            usage = came.usage or _Usage()
            reply = made(
                EndpointReply(
                    asked=asked,
                    raw=without_known_secrets(came.choices[0].message.content or ""),
                    model=without_known_secrets(came.model or ""),
                    prompt_tokens=usage.prompt_tokens,
                    completion_tokens=usage.completion_tokens,
                )
            )
            self.log.append(reply)
            self.budget.count(reply, n_bytes)
        return reply

    async def require_reached(self) -> None:
        """`StackError` or `Refused` where nobody is there, or refuses the key. Nothing is asked of one that has replied
        before.

        The list of its models is asked for, which costs nothing; what it says, and whether it has one, does not matter.
        """
        if self.log.replies:
            return
        try:
            await self._client.get("models", OpenAIBody)
        except Malformed:
            return
        except Refused as error:
            if error.status in _OF_KEYS:
                raise

    def _request(self, message: str, seed: int, temperature: float | None) -> _Request:
        return _Request.model_validate(
            {
                "model": self.settings.model,
                "messages": [{"role": "user", "content": message}],
                "temperature": temperature,
                "seed": seed,
                self.settings.max_tokens_field: self.settings.max_tokens,
            }
        )


def require_endpoint(whose: str, settings: EndpointSettings, key_variable: str, example: str) -> tuple[str, str]:
    """Where to ask, and which model; `InvalidInput` where either is not given."""
    if not settings.base_url or not settings.model:
        missing = "model" if settings.base_url else "base_url"
        raise InvalidInput(
            f"{whose} {missing} is not set: it is a model behind an OpenAI-compatible endpoint, as in {example}"
        )
    require_address(f"{whose} base_url", settings.base_url, key_variable)
    return settings.base_url, settings.model


@asynccontextmanager
async def open_endpoint(
    settings: EndpointSettings,
    log: ReplyLog[R],
    budget: Budget,
    key_variable: str,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[ChatEndpoint[R], None]:
    """The endpoint of `settings`, which are complete; what it has said before is in `log`, and counted."""
    assert settings.base_url is not None, "require_endpoint was asked"
    base_url = settings.base_url
    key = os.environ.get(key_variable) or None
    for reply in log.replies:
        budget.count(reply)
    client = HttpClient(
        base_url if httpx.URL(base_url).path.strip("/") else f"{base_url.rstrip('/')}/v1",
        max_concurrency=settings.max_concurrency,
        seed=0,
        timeout_s=settings.request_timeout_s,
        api_key=key,
        key_variable=key_variable,
        started_by=f"vllm serve {settings.model}, or whatever serves it",
        transport=transport,
        retries=Retries(for_s=settings.retry_for_s),
    )
    try:
        yield ChatEndpoint(settings, budget, log, client, asyncio.Semaphore(settings.max_concurrency))
    finally:
        await client.close()
