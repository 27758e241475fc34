"""A judge that goes by a rule, behind the HTTP interface of an OpenAI endpoint."""

import json
import random
import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send


class Killed(Exception):
    """Ends the process that asks, in the middle."""


def shorter(first: str, second: str) -> str:
    """Prefers the shorter answer."""
    return "A" if len(first) < len(second) else "B" if len(second) < len(first) else "tie"


def always_first(first: str, second: str) -> str:
    """Does not look."""
    return "A"


@dataclass
class RuleJudge:
    """Rules by `rule`. With a chance of `noise` it says anything, and with `mute` nothing that is a verdict.

    Every request counts a token for four characters. `bodies` are the requests, `keys` what they were authorised by.
    `refuse` is the status in place of a reply, `broken` what is said in place of one, `kill_at` the request from which
    on none is answered.
    """

    rule: Callable[[str, str], str] = shorter
    noise: float = 0.0
    mute: float = 0.0
    counts_tokens: bool = True
    refuse: Callable[[dict[str, Any]], int | None] = lambda body: None
    broken: bytes | None = None
    kill_at: int | None = None
    says: str = "Both answer."
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str] = field(default_factory=list[str])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (await self._reply(Request(scope, receive)))(scope, receive, send)

    async def _reply(self, request: Request) -> Response:
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

    def _answered(self, body: MutableMapping[str, Any]) -> dict[str, Any]:
        asked = body["messages"][0]["content"]
        chance = random.Random(f"{asked}{body['seed']}")
        verdict = self.rule(*answers_in(asked))
        if chance.random() < self.noise:
            verdict = chance.choice(["A", "B", "tie"])
        mute = chance.random() < self.mute
        said = f"{self.says} I cannot say." if mute else f"{self.says}\n[[{verdict}]]"
        reply: dict[str, Any] = {
            "id": "1",
            "model": f"{body['model']}-2026",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
        }
        if self.counts_tokens:
            reply["usage"] = {"prompt_tokens": len(asked) // 4, "completion_tokens": 10}
        return reply


def answers_in(asked: str) -> tuple[str, str]:
    """The two answers that a message quotes, turns joined."""
    mark = re.escape(re.findall(r"^(#\w{12}) the conversation with", asked, re.MULTILINE)[0])
    found = {
        name: re.findall(rf"^{mark} assistant {name} answers\n(.*?)\n{mark} ", asked, re.DOTALL | re.MULTILINE)
        for name in "AB"
    }
    return "\n".join(found["A"]), "\n".join(found["B"])
