"""Server-sent events: what is told while it is made."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from claas.api.errors import error_body
from claas.api.hangup import HungUp, while_connected
from claas.core.errors import ClaasError

_DONE = "data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """Bodies as events, then `[DONE]`. A failure on the way is an event in OpenAI's error shape, and the last.

    Fields that were not set are left out. When the client hangs up, the generator is closed.
    """

    def __init__(self, first: BaseModel, others: AsyncGenerator[BaseModel]) -> None:
        self._others = others
        super().__init__(_events(first, others), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._others):
            with suppress(HungUp):
                await while_connected(receive, self.stream_response(send))


async def event_stream(receive: Receive, bodies: AsyncGenerator[BaseModel]) -> EventStream:
    """A response of `bodies`. It begins with the first, so that what fails before is an ordinary HTTP error."""
    return EventStream(await while_connected(receive, anext(bodies)), bodies)


async def _events(first: BaseModel, others: AsyncGenerator[BaseModel]) -> AsyncGenerator[str]:
    yield _event(first)
    try:
        async for body in others:
            yield _event(body)
            await asyncio.sleep(0)  # where events come faster than they are sent, the loop still notices who is gone
    except ClaasError as error:
        _, told = error_body(error)
        yield f"data: {told.model_dump_json()}\n\n"
        return
    yield _DONE


def _event(body: BaseModel) -> str:
    return f"data: {body.model_dump_json(exclude_unset=True)}\n\n"
