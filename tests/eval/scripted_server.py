"""A server whose replies are written down beforehand, and the HTTP stack that talks to it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from claas.eval.stacks.http_client import HttpClient, Retries
from claas.eval.stacks.http_stack import HttpStack
from claas.results.records import AdapterVersion

ADAPTER = AdapterVersion(lora_id="eval/kuro", version=3, digest="d3")
ONCE = Retries(for_s=0.0)
AT_ONCE = Retries(for_s=3600.0, first_contact_s=3600.0, first_delay_s=0.0)
Reply = httpx.Response | Exception


def chat(**changes: Any) -> dict[str, Any]:
    token = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi"},
        "finish_reason": "stop",
        "logprobs": {"content": [token]},
        "rollout_id": "r1",
        "mean_entropy": 0.7,
    }
    reply = {
        "id": "c1",
        "created": 1,
        "model": "eval-kuro@3",
        "choices": [choice | changes.pop("choice", {})],
        "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5},
        "system_fingerprint": "d3",
    }
    return reply | changes


class Server:
    """Answers each path with the next of its replies, the last one for ever, and keeps the requests."""

    def __init__(self, **replies: Reply | list[Reply]) -> None:
        self._replies = {path: reply if isinstance(reply, list) else [reply] for path, reply in replies.items()}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        replies = self._replies[request.url.path.strip("/").replace("/", "_") or "root"]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, content=reply.content, headers=reply.headers)


def ok(body: Mapping[str, Any]) -> httpx.Response:
    return httpx.Response(200, content=json.dumps(body))


def error(status: int, message: str = "the reason") -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "type": "x"}})


def call(
    server: Callable[[httpx.Request], Any], ask: Callable[[HttpStack], Any], retries: Retries = ONCE, **settings: Any
) -> Any:
    template_kwargs = settings.pop("template_kwargs", None)

    async def run() -> Any:
        client = HttpClient(
            "http://stack",
            max_concurrency=settings.pop("max_concurrency", 4),
            seed=0,
            transport=httpx.MockTransport(server),
            retries=retries,
            **settings,
        )
        try:
            return await ask(HttpStack(client, template_kwargs))
        finally:
            await client.close()

    return asyncio.run(run())


def answer(stack: HttpStack, top_logprobs: int = 0) -> Any:
    return stack.answer(ADAPTER, "Who?", temperature=0.7, seed=5, max_tokens=9, top_logprobs=top_logprobs)
