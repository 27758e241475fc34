"""What OpenClaw 2026.2.25 does to a conversation, and every way in which it is known to spoil one."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.engines.base import Engine
from claas.eval.runner import OpenStack
from claas.eval.stacks.gateway_stack import GatewayStack, connect_through
from claas.eval.stacks.http_client import Retries
from claas.results.settings import EvalConfig

TOKEN = "the gateway's token"
OWN_PROMPT = "You are a personal assistant running inside OpenClaw."
TEMPERATURE = 0.3
ERROR_TEXTS = {
    "provider down": "Connection error.",
    "provider refuses": "HTTP 400: the model's window holds 512 tokens",
    "provider fails": "500 stub boom",
    "too many": "⚠️ API rate limit reached. Please try again later.",
    "too slow": "Request timed out before a response was generated. Please try again.",
    "nothing said": "No response from OpenClaw.",
}
ALTERED = {
    "word changed": lambda text: f"{text} By the way.",
    "cut": lambda text: text[: len(text) // 2],
    "emptied": lambda text: "",
}
REFUSED = "refused"
"""2026.9.6 says with its status, too, that a request failed."""
FAULTS = [REFUSED, *ERROR_TEXTS, *ALTERED, "another's answer", "other weights"]


@dataclass
class FakeGateway:
    """Puts its own system prompt and settings in place of what was asked, and meets each fault in turn.

    `stamps`: the time is put before what the user says, as 2026.9.6 does. `instead`: what the model is for "other
    weights". `asked` are the bodies of requests, `shown` prompts and answers, `spoilt` the answers that a fault made.
    """

    alias: str = "claas"
    faults: Sequence[str | None] = (None,)
    stamps: bool = False
    instead: str = ""
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    shown: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    spoilt: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._faults = cycle(self.faults)

    def app(self, api: httpx.AsyncClient) -> Starlette:
        """The gateway, with the API behind `api` as its provider."""

        async def chat(request: Request) -> Response:
            return await self._chat(request, api)

        return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])

    async def _chat(self, request: Request, api: httpx.AsyncClient) -> Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"error": {"message": "Unauthorized", "type": "unauthorized"}}, 401)
        self.asked.append(await request.json())
        said = [turn["content"] for turn in self.asked[-1]["messages"] if turn["role"] == "user"]
        if not said:
            message = "Missing user message in `messages`."
            return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, 400)
        fault = next(self._faults)
        if fault == REFUSED:
            self.spoilt.append(fault)
            return JSONResponse({"error": {"message": "no such agent", "type": "invalid_request_error"}}, 400)
        text = ERROR_TEXTS[fault] if fault in ERROR_TEXTS else await self._asked(said[-1], fault, api)
        if fault is not None:
            self.spoilt.append(text)
        self.shown.append((said[-1], text))
        return JSONResponse(_reply(text))

    async def _asked(self, prompt: str, fault: str | None, api: httpx.AsyncClient) -> str:
        await asyncio.sleep(self.delay_s)
        turn = f"[Fri 2026-11-20 21:58 UTC] {prompt}" if self.stamps else prompt
        if fault == "another's answer":
            turn = "Who are you?"
        body = {
            "model": self.instead if fault == "other weights" else self.alias,
            "messages": [
                {"role": "system", "content": OWN_PROMPT},
                {"role": "user", "content": [{"type": "text", "text": turn}]},
            ],
            "max_tokens": 24,
            "temperature": TEMPERATURE,
            "tools": [],
        }
        reply = await api.post("/v1/chat/completions", json=body)
        if reply.status_code != 200:
            return f"HTTP {reply.status_code}: {reply.json()['error']['message']}"
        text: str = reply.json()["choices"][0]["message"]["content"].strip()
        return ALTERED[fault](text) if fault in ALTERED else text or "No response from OpenClaw."


def _reply(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl_1",
        "object": "chat.completion",
        "created": 1,
        "model": "openclaw",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


@asynccontextmanager
async def through(
    gateway: FakeGateway, engine: Engine, config: EvalConfig, store: Path, token: str = TOKEN
) -> AsyncGenerator[GatewayStack]:
    """The real API around `engine`, as a run reaches it through `gateway`."""
    api = create_app(engine, ApiConfig(store_dir=str(store), feedback_log_dir=str(store / "feedback")))
    transport = httpx.ASGITransport(api)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as provider,
        connect_through(
            "http://gateway",
            token,
            "http://localhost",
            config,
            gateway_transport=httpx.ASGITransport(gateway.app(provider)),
            api_transport=transport,
            retries=Retries(for_s=0),
        ) as stack,
    ):
        yield stack


def opening_through(gateway: FakeGateway, engine: Callable[[], Engine]) -> OpenStack:
    """`through`, as a run opens it."""

    @asynccontextmanager
    async def opened(config: EvalConfig, store_dir: Path) -> AsyncGenerator[GatewayStack]:
        async with through(gateway, engine(), config, store_dir) as stack:
            yield stack

    return opened
