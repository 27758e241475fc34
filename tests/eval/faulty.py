"""Stacks on which anything may go wrong, as often as a seed says: behind the harness's protocol, and on the wire."""

import json
import math
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.core.errors import StackError
from claas.eval.runner import OpenStack
from claas.eval.stacks.http_client import Retries
from claas.eval.stacks.http_stack import connect
from claas.eval.stacks.stack import Answer, CompletionScore, LostAnswer, Reading, Stack
from claas.results.ledger import Receipt
from claas.results.records import AdapterVersion
from claas.results.settings import EvalConfig
from claas.wire.feedback import FeedbackItem
from tests.fakes.engine import FakeEngine
from tests.fakes.stack import FakeStack

Said = tuple[str, str]
"""A rollout id and the response that came with it."""


@dataclass
class Chance:
    """Which request meets which fault: none once `stopped`, else each with probability `rate`, one of `kinds`."""

    seed: int
    rate: float
    kinds: Sequence[str]
    stopped: bool = False

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def fault(self) -> str | None:
        if self.stopped or self._random.random() >= self.rate:
            return None
        return self._random.choice(self.kinds)


NO_REPLY = {"lost", "gone"}
BAD_NUMBERS = {"NaN": math.nan, "infinite": -math.inf, "None": None}
UNMATCHED = "tokens of another text"
STACK_FAULTS = [*NO_REPLY, *BAD_NUMBERS, "no logprobs", "empty", "no entropy", "cut off", "bad entropy", "fewer tokens"]
STACK_FAULTS += ["no tokens", UNMATCHED]


@dataclass
class FaultyStack:
    """The scripted stack, whose every call may fail or come back damaged.

    `usable` are the answers that came back whole, `trained` what updates were asked for, `inner` what was made of it.
    """

    inner: FakeStack
    chance: Chance
    usable: set[Said] = field(default_factory=set[Said])
    trained: list[FeedbackItem] = field(default_factory=list[FeedbackItem])

    async def base_source(self) -> str | None:
        return await self.inner.base_source()

    async def init_adapter(self, lora_id: str, seed: int) -> AdapterVersion:
        return await self.inner.init_adapter(lora_id, seed)

    async def newest(self, lora_id: str) -> AdapterVersion:
        return await self.inner.newest(lora_id)

    async def answer(self, adapter: AdapterVersion, prompt: str, **asked: Any) -> Answer:
        fault = self._fault()
        answer = damaged(await self.inner.answer(adapter, prompt, **asked), fault)
        if fault not in {*BAD_NUMBERS, "bad entropy", UNMATCHED} or not answer.logprobs:
            self.usable.add((answer.rollout_id, answer.text.strip()))
        return answer

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        fault = self._fault()
        scored = await self.inner.score(adapter, messages, completion)
        logprobs = damaged_numbers(scored.logprobs, fault)
        return replace(scored, logprobs=logprobs, tokens=damaged_tokens(scored.tokens, len(logprobs), fault))

    async def read(self, adapter: AdapterVersion, text: str, window: int) -> Reading:
        fault = self._fault()
        reading = await self.inner.read(adapter, text, window)
        logprobs = damaged_numbers(reading.logprobs, fault)
        tokens = damaged_tokens(reading.tokens, len(logprobs), fault)
        return replace(reading, logprobs=logprobs, tokens=tokens or ())

    async def give_feedback(self, adapter: AdapterVersion, items: Sequence[FeedbackItem], key: str) -> Receipt:
        fault = self.chance.fault()
        if fault == "gone":
            raise StackError("refused before anything was trained")
        self.trained += items
        receipt = await self.inner.give_feedback(adapter, items, key)
        if fault == "lost":
            raise StackError("trained, and the receipt was lost")
        return receipt

    def _fault(self) -> str | None:
        fault = self.chance.fault()
        if fault in NO_REPLY:
            raise StackError("the stack is gone") if fault == "gone" else LostAnswer("timed out")
        return fault


def damaged(answer: Answer, fault: str | None) -> Answer:
    """The answer as it comes back."""
    logprobs = damaged_numbers(answer.logprobs, fault)
    if fault == "empty":
        return replace(answer, text="", logprobs=(), tokens=(), top_logprobs=(), completion_tokens=0)
    if fault == "no entropy":
        return replace(answer, mean_entropy=None)
    if fault == "bad entropy":
        return replace(answer, mean_entropy=math.nan)
    finish_reason = "length" if fault == "cut off" else answer.finish_reason
    tokens = damaged_tokens(answer.tokens, len(logprobs), fault)
    return replace(answer, logprobs=logprobs, tokens=tokens, finish_reason=finish_reason)


def damaged_numbers(logprobs: tuple[float, ...], fault: str | None) -> tuple[Any, ...]:
    """The numbers as they come back."""
    if fault in BAD_NUMBERS and logprobs:
        return (BAD_NUMBERS[fault], *logprobs[1:])
    return {"no logprobs": (), "fewer tokens": logprobs[1:]}.get(fault or "", logprobs)


def damaged_tokens(tokens: tuple[str, ...] | None, count: int, fault: str | None) -> tuple[str, ...] | None:
    """The `count` tokens that the numbers came back for; unless the fault is that these are others, or unknown."""
    if tokens is None or fault == "no tokens":
        return None
    return (*tokens, "more") if fault == UNMATCHED else tokens[len(tokens) - count :]


WIRE_FAULTS = ["timeout", "HTTP 500", "HTTP 503", "no body", "half a body", "another body", "no choices", "lost reply"]
NUMBER_FAULTS = ["NaN", "null", "no numbers", "empty answer"]


@dataclass
class FaultyWire(httpx.AsyncBaseTransport):
    """The wire to an API in this process; requests that ask, score or train may meet a fault on it."""

    to: httpx.AsyncBaseTransport
    chance: Chance
    usable: set[Said] = field(default_factory=set[Said])
    trained: list[Said] = field(default_factory=list[Said])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asks = request.url.path in ("/v1/chat/completions", "/v1/score", "/v1/feedback")
        fault = self.chance.fault() if asks else None
        if fault == "timeout":
            raise httpx.ReadTimeout("too slow")
        if fault in ("HTTP 500", "HTTP 503"):
            return httpx.Response(int(fault[-3:]), text="out of order")
        if request.url.path == "/v1/feedback":
            items = json.loads(request.content)["requests"]
            self.trained += [(item["rollout_id"], item["response"]) for item in items]
        response = await self.to.handle_async_request(request)
        body = await response.aread()
        if fault == "lost reply":
            raise httpx.ReadError("cut")
        spoilt = self._spoilt(fault, body, request.url.path) if response.is_success else body
        self._note(spoilt)
        return httpx.Response(response.status_code, content=spoilt)

    def _spoilt(self, fault: str | None, body: bytes, path: str) -> bytes:
        whole = {"no body": b"", "half a body": body[: len(body) // 2], "another body": b'{"ok": true}'}
        if fault in whole:
            return whole[fault]
        reply = json.loads(body)
        if path == "/v1/chat/completions" and fault in SPOILING:
            SPOILING[fault](reply)
        if path == "/v1/score" and fault in ("NaN", "null", "no numbers"):
            reply["logprobs"] = {"NaN": [math.nan], "null": [None], "no numbers": []}[fault]
        return json.dumps(reply).encode()

    def _note(self, body: bytes) -> None:
        """Remember an answer whose reply is whole."""
        try:
            (choice,) = json.loads(body)["choices"]
            tokens = [token["logprob"] for token in choice["logprobs"]["content"]]
            if tokens and all(math.isfinite(logprob) for logprob in tokens):
                self.usable.add((choice["rollout_id"], choice["message"]["content"]))
        except (ValueError, KeyError, TypeError):
            return


def _with_logprob(value: float | None) -> Callable[[dict[str, Any]], None]:
    return lambda reply: reply["choices"][0]["logprobs"]["content"][0].update(logprob=value)


SPOILING: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "no choices": lambda reply: reply.update(choices=[]),
    "no numbers": lambda reply: reply["choices"][0].update(logprobs=None),
    "empty answer": lambda reply: reply["choices"][0]["message"].update(content=""),
    "NaN": _with_logprob(math.nan),
    "null": _with_logprob(None),
}


def over_the_wire(engine: FakeEngine, folder: Path, wires: list[FaultyWire], chance: Chance) -> OpenStack:
    """Opens the real API around `engine`, behind a faulty wire that is added to `wires`.

    Retries come at once, and every other seed has none.
    """
    retries = Retries(for_s=3600.0 * (chance.seed % 2), first_contact_s=3600.0, first_delay_s=0.0)
    settings = ApiConfig(store_dir=str(folder / "store"), feedback_log_dir=str(folder / "feedback"))

    @asynccontextmanager
    async def open_stack(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Stack, None]:
        app = create_app(engine, settings)
        wire = FaultyWire(httpx.ASGITransport(app, raise_app_exceptions=False), chance)
        wires.append(wire)
        async with (
            app.router.lifespan_context(app),
            connect("http://localhost", config, transport=wire, retries=retries) as stack,
        ):
            yield stack

    return open_stack
