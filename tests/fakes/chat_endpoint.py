"""A model behind the HTTP interface of an OpenAI endpoint, which says what a test wants."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send


class Killed(Exception):
    """Ends the process that asks, in the middle."""


@dataclass
class FakeEndpoint(ABC):
    """Every request counts a token for four characters, and every reply ten. `bodies` are the requests, `keys` what
    they were authorised by.

    `lists` is the status of its list of models, `refuse` that in place of a reply, `broken` what is said in place of
    one, `kill_at` the request from which on none is answered.
    """

    counts_tokens: bool = True
    lists: int = 404
    refuse: Callable[[dict[str, Any]], int | None] = lambda body: None
    broken: bytes | None = None
    kill_at: int | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str] = field(default_factory=list[str])

    @abstractmethod
    def said(self, body: dict[str, Any]) -> str:
        """What it says to a request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (await self._reply(Request(scope, receive)))(scope, receive, send)

    async def _reply(self, request: Request) -> Response:
        if request.url.path == "/v1/models":
            return JSONResponse({"error": {"message": f"no, {request.headers.get('Authorization')}"}}, self.lists)
        if request.url.path != "/v1/chat/completions":
            return JSONResponse({"error": {"message": "no such path"}}, 404)
        body = json.loads(await request.body())
        self.keys.append(request.headers.get("Authorization", ""))
        self.bodies.append(body)
        if self.kill_at is not None and len(self.bodies) >= self.kill_at:
            raise Killed
        if status := self.refuse(body):
            return JSONResponse({"error": {"message": f"no, {self.keys[-1]}"}}, status)
        return JSONResponse(self._answered(body)) if self.broken is None else Response(self.broken)

    def _answered(self, body: dict[str, Any]) -> dict[str, Any]:
        reply: dict[str, Any] = {
            "id": "1",
            "model": f"{body['model']}-2026",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": self.said(body)}, "finish_reason": "stop"}
            ],
        }
        if self.counts_tokens:
            reply["usage"] = {"prompt_tokens": len(body["messages"][0]["content"]) // 4, "completion_tokens": 10}
        return reply
