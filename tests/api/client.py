"""The API in process around a scripted engine, as a test drives it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.engines.base import Engine
from claas.wire.chat import ChatResponse, Choice
from claas.wire.feedback import IDEMPOTENCY_HEADER, FeedbackResponse
from tests.fakes.engine import FakeEngine

LORA = "eval/concise"
NAME = "eval-concise"


def settings(directory: Path, **changed: Any) -> ApiConfig:
    return ApiConfig(
        **{"store_dir": str(directory / "store"), "feedback_log_dir": str(directory / "feedback"), **changed}
    )


@dataclass(frozen=True)
class Api:
    """A client of one running app."""

    http: httpx.AsyncClient

    async def init(self, lora_id: str = LORA) -> None:
        ok(await self.http.post("/v1/lora/init", json={"lora_id": lora_id}))

    async def chat(self, prompt: str = "Hi", model: str = NAME, **fields: Any) -> ChatResponse:
        return ChatResponse.model_validate(ok(await self.try_chat(prompt, model, **fields)))

    async def try_chat(self, prompt: str = "Hi", model: str = NAME, **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
        return await self.http.post("/v1/chat/completions", json=body)

    async def said(self, prompt: str = "Hi", model: str = NAME, **fields: Any) -> Choice:
        return (await self.chat(prompt, model, **fields)).choices[0]

    async def feedback(self, *items: dict[str, Any], key: str | None = None) -> FeedbackResponse:
        return FeedbackResponse.model_validate(ok(await self.try_feedback(*items, key=key)))

    async def try_feedback(self, *items: dict[str, Any], key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {IDEMPOTENCY_HEADER: key}
        return await self.http.post("/v1/feedback", json={"requests": items}, headers=headers)


def item(prompt: str, choice: Choice, **changed: Any) -> dict[str, Any]:
    """Feedback on an answer, found by its text unless `rollout_id` is given."""
    about = {"lora_id": LORA, "prompt": prompt, "response": choice.message.content, "feedback": "Be brief."}
    return {**about, **changed}


def ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return response.json()


def error(response: httpx.Response, status: int) -> str:
    """The message of an error, after a look at its status and shape."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "detail"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["detail"] == body["error"]["message"]
    return body["detail"]


@asynccontextmanager
async def running(engine: Engine, config: ApiConfig, api_key: str | None = None) -> AsyncGenerator[Api]:
    """An app from start to end of its lifespan."""
    app = create_app(engine, config, api_key=api_key)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield Api(http)


@asynccontextmanager
async def serving(directory: Path, engine: FakeEngine | None = None, **changed: Any) -> AsyncGenerator[Api]:
    """An app with one fresh adapter, unless its engine has it already."""
    engine = FakeEngine(directory / "engine") if engine is None else engine
    async with running(engine, settings(directory, **changed)) as api:
        if LORA not in engine.adapters:
            await api.init()
        yield api
