"""The judge: an OpenAI-compatible endpoint that is never asked the same thing twice, nor beyond what it may cost."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import Field

from claas.bench.judge.prompt import JudgePrompt, place_named
from claas.bench.judge.settings import JudgePrices, JudgeSettings, require_priced
from claas.core.errors import InvalidInput
from claas.core.files import append_line, dump_json, in_turn, read_records
from claas.eval.stacks.http_client import HttpClient, Refused, RequestLost, Retries
from claas.eval.stacks.stack import LostAnswer
from claas.results.judging import JudgeCall, Order, Winner, winner
from claas.wire import OpenAIBody

_CHAT = "chat/completions"
_OF_ONE_REQUEST = frozenset({400, 413, 422})
"""Refusals that may be about one request, such as one too long for the judge's window; others meet all of them."""


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
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)


class _Reply(OpenAIBody):
    model: str | None = None
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class JudgmentLog:
    """`judgments.jsonl`: every reply that ever came, by what was asked; appended to as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[JudgeCall] = []
        self._by_request: dict[str, JudgeCall] = {}
        mend = "put back a copy, or take the line out, and what it holds is asked again"
        for call in read_records(path, JudgeCall, mend):
            self._keep(call)

    def find(self, asked: str) -> JudgeCall | None:
        """The reply to a request; None where it never came."""
        return self._by_request.get(asked)

    def append(self, call: JudgeCall) -> None:
        """Put a reply on the disk."""
        with in_turn(self.path.with_name(f".{self.path.name}.lock")):
            append_line(self.path, call.model_dump_json())
        self._keep(call)

    def _keep(self, call: JudgeCall) -> None:
        self.calls.append(call)
        self._by_request[call.asked] = call


class Budget:
    """What may be spent, over all replies on record; None: any amount. What a call will cost is estimated.

    Of each byte of a request as many tokens are expected as there ever were (one, while nothing is known), and as long
    a reply as ever came (`longest_reply`, while none did). A call that may not fit beside those under way waits for
    them; one that does not fit alone is refused, and with it all others.
    """

    def __init__(self, budget_usd: float | None, prices: JudgePrices, longest_reply: int) -> None:
        self.spent_usd = 0.0
        self.refused: str | None = None
        self._budget_usd, self._prices, self._longest_reply = budget_usd, prices, longest_reply
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
                    f"budget_usd={self._budget_usd:g} leaves no room for the next call, of up to "
                    f"{self._expected(n_bytes):.4f} USD: {self.spent_usd:.4f} USD are spent; raise it and run the same "
                    "command again, which asks nothing twice"
                )
            expected = self._expected(n_bytes)
            self._under_way.append(expected)
        try:
            yield self.refused is None
        finally:
            async with self._settled:
                self._under_way.remove(expected)
                self._settled.notify_all()

    def count(self, call: JudgeCall, n_bytes: int | None = None) -> None:
        """A reply that was paid for, to a request of so many bytes where that is known.

        `InvalidInput` where a budget cannot be kept, because tokens are not counted.
        """
        read, written = call.prompt_tokens, call.completion_tokens
        if read is None or written is None:
            if self._budget_usd is not None:
                raise InvalidInput(
                    "the judge does not say how many tokens it used, so budget_usd cannot be kept: leave it out"
                )
            return
        self.spent_usd += self._prices.cost_usd(read, written)
        self._longest_seen = max(self._longest_seen, written)
        if n_bytes:
            self._tokens_per_byte = max(self._tokens_per_byte, read / n_bytes)

    def _expected(self, n_bytes: int) -> float:
        return self._prices.cost_usd(
            n_bytes * (self._tokens_per_byte or 1.0), self._longest_seen or self._longest_reply
        )

    def _fits(self, n_bytes: int) -> bool:
        if self._budget_usd is None:
            return True
        return self.spent_usd + sum(self._under_way) + self._expected(n_bytes) <= self._budget_usd


@dataclass(frozen=True)
class Judge:
    """Asks. Every reply is on record before it is used, and counted against the budget."""

    settings: JudgeSettings
    prompt: JudgePrompt
    budget: Budget
    log: JudgmentLog
    _client: HttpClient
    _slots: asyncio.Semaphore
    _key: str | None

    async def rule(self, item: str, order: Order, seed: int, message: str) -> JudgeCall | None:
        """The judge's reply to a message, from the record where it is there; None where the budget is used up.

        `LostAnswer`: none came. `InvalidInput`: the endpoint refuses, whatever is asked.
        """
        request = self._request(seed, message)
        body = dump_json(request.model_dump(exclude_none=True))
        asked = hashlib.sha256(f"{self.settings.base_url}\n{body}".encode()).hexdigest()
        said = self.log.find(asked)
        if said is not None:
            return said.model_copy(update={"item": item, "order": order, "verdict": _verdict(said.raw, order)})
        n_bytes = len(message.encode())
        async with self._slots, self.budget.room_for(n_bytes) as is_room:
            if not is_room:
                return None
            reply = await self._ask(request)
            raw, usage = self._without_key(reply.choices[0].message.content or ""), reply.usage
            call = JudgeCall(
                item=item,
                order=order,
                seed=seed,
                asked=asked,
                raw=raw,
                verdict=_verdict(raw, order),
                model=self._without_key(reply.model or ""),
                prompt_tokens=None if usage is None else usage.prompt_tokens,
                completion_tokens=None if usage is None else usage.completion_tokens,
            )
            self.log.append(call)
            self.budget.count(call, n_bytes)
        return call

    def _request(self, seed: int, message: str) -> _Request:
        _, model = self.settings.endpoint()
        return _Request.model_validate(
            {
                "model": model,
                "messages": [{"role": "user", "content": message}],
                "temperature": self.settings.temperature,
                "seed": seed,
                self.settings.max_tokens_field: self.settings.max_tokens,
            }
        )

    def _without_key(self, text: str) -> str:
        """A text as it may be written down, whatever the endpoint says back."""
        return text.replace(self._key, "[key]") if self._key else text

    async def _ask(self, request: _Request) -> _Reply:
        try:
            return await self._client.post(_CHAT, request, _Reply)
        except RequestLost as error:
            raise LostAnswer(self._without_key(str(error))) from None
        except Refused as error:
            said = self._without_key(str(error))
            raise (LostAnswer if error.status in _OF_ONE_REQUEST else InvalidInput)(said) from None


@asynccontextmanager
async def open_judge(
    settings: JudgeSettings,
    log: JudgmentLog,
    *,
    prices: JudgePrices,
    budget_usd: float | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[Judge, None]:
    """The judge of `settings`, what it has said before being in `log`."""
    base_url, model = settings.endpoint()
    require_priced(budget_usd, prices)
    address = base_url if httpx.URL(base_url).path.strip("/") else f"{base_url.rstrip('/')}/v1"
    key = os.environ.get(settings.key_variable) or None
    budget = Budget(budget_usd, prices, settings.max_tokens)
    for call in log.calls:
        budget.count(call)
    client = HttpClient(
        address,
        max_concurrency=settings.max_concurrency,
        seed=settings.seed,
        timeout_s=settings.request_timeout_s,
        api_key=key,
        key_variable=settings.key_variable,
        started_by=f"vllm serve {model}, or whatever serves it",
        transport=transport,
        retries=Retries(for_s=settings.retry_for_s),
    )
    try:
        prompt = JudgePrompt.from_file(settings.prompt)
        yield Judge(settings, prompt, budget, log, client, asyncio.Semaphore(settings.max_concurrency), key)
    finally:
        await client.close()


def _verdict(raw: str, order: Order) -> Winner | None:
    return winner(place_named(raw), order)
