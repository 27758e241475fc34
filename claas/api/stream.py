"""Answers as they grow: chunks of a chat as server-sent events, until the client hangs up."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from claas.api.chat import PreparedChat, choice_logprobs, usage
from claas.api.errors import error_body
from claas.core.concurrency import together
from claas.core.errors import ClaasError
from claas.core.thinking import GrowingSpeech
from claas.engines.types import Piece, Sample
from claas.wire.chat import ChatChunk, ChunkChoice, Delta, Usage
from claas.wire.feedback import Rollout

T = TypeVar("T")


class ClientDisconnected(HTTPException):
    """The client has hung up."""

    def __init__(self) -> None:
        super().__init__(499, "the client hung up")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up; then `ClientDisconnected` is raised.

    `receive` has given the whole body already.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnected
    finally:
        await stopped(task, gone)


async def stopped(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until they have ended, ignoring their outcomes."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def chunks(chat: PreparedChat) -> AsyncGenerator[ChatChunk]:
    """Every answer in pieces, those of all answers as they come, then the usage if that was asked for.

    The content of a choice's chunks is, put together, that of the same request without `stream`, and so is the
    thinking in front of it, unless a mark that ends thinking comes after the answer began. An answer is recorded before
    the chunk that finishes it. Closing the generator stops the sampling.
    """
    grown: asyncio.Queue[ChunkChoice | None] = asyncio.Queue()
    answers = [
        _Growing(index, grown, GrowingSpeech(opened=chat.prompt.opens_thinking), with_logprobs=chat.request.logprobs)
        for index in range(chat.request.n)
    ]
    work = asyncio.create_task(together(_sample(chat, answer) for answer in answers))
    work.add_done_callback(lambda _: grown.put_nowait(None))
    with_usage = chat.request.stream_options is not None and chat.request.stream_options.include_usage
    try:
        while (choice := await grown.get()) is not None:
            yield _chunk(chat, [choice], with_usage=with_usage)
        samples = await work
        if with_usage:
            yield _chunk(chat, [], with_usage=True, counted=usage(samples))
    finally:
        await stopped(work)


@dataclass
class _Growing:
    """Queues the new parts of one answer, and tracks how much was queued."""

    index: int
    grown: "asyncio.Queue[ChunkChoice | None]"
    speech: GrowingSpeech
    with_logprobs: bool
    characters: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    started: bool = field(default=False, init=False)

    def emit(self, piece: Piece, *, last: bool = False) -> None:
        """A part of the answer; the first is preceded by the role. Tokens go with the last text they brought."""
        if not self.started:
            self._put(Delta(role="assistant", content=""))
            self.started = True
        self.characters += len(piece.text)
        self.tokens += len(piece.tokens)
        spoken = self.speech.grow(piece.text, whole=last)
        if spoken.thinking:
            self._put(Delta(reasoning_content=spoken.thinking), None if spoken.answer else piece)
        if spoken.answer or (self.with_logprobs and piece.tokens and not spoken.thinking):
            self._put(Delta(content=spoken.answer), piece)

    def finish(self, sample: Sample, rollout: Rollout) -> None:
        """The part that was not emitted yet, and how the answer ended."""
        self.emit(sample.rest(self.characters, self.tokens), last=True)
        self.grown.put_nowait(
            ChunkChoice(
                index=self.index,
                delta=Delta(),
                finish_reason=sample.finish_reason,
                logprobs=None,
                rollout_id=rollout.id,
                mean_entropy=sample.mean_entropy,
            )
        )

    def _put(self, delta: Delta, piece: Piece | None = None) -> None:
        logprobs = choice_logprobs(piece) if piece is not None and self.with_logprobs else None
        self.grown.put_nowait(ChunkChoice(index=self.index, delta=delta, finish_reason=None, logprobs=logprobs))


async def _sample(chat: PreparedChat, answer: _Growing) -> Sample:
    sample, rollout = await chat.choice(answer.index, answer.emit)
    answer.finish(sample, rollout)
    return sample


def _chunk(
    chat: PreparedChat, choices: list[ChunkChoice], *, with_usage: bool, counted: Usage | None = None
) -> ChatChunk:
    """One event; where usage was asked for, it is null until the end."""
    chunk = ChatChunk(
        id=chat.id,
        object="chat.completion.chunk",
        created=chat.created,
        model=chat.weights.name,
        system_fingerprint=chat.weights.digest,
        choices=choices,
    )
    return chunk.model_copy(update={"usage": counted}) if with_usage else chunk


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
            with suppress(ClientDisconnected):
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
        _, body = error_body(error)
        yield f"data: {body.model_dump_json()}\n\n"
        return
    yield _DONE


def _event(body: BaseModel) -> str:
    return f"data: {body.model_dump_json(exclude_unset=True)}\n\n"
