"""The answers to a chat request told while they are sampled."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from claas.api.chat import Chat, choice_logprobs, usage
from claas.api.hangup import stopped
from claas.core.concurrency import together
from claas.engines.base import Piece, Sample
from claas.wire.chat import Usage
from claas.wire.chat_stream import ChatChunk, ChunkChoice, Delta
from claas.wire.rollouts import Rollout


async def chunks(chat: Chat) -> AsyncGenerator[ChatChunk]:
    """Every answer in pieces, those of all answers as they come, then the usage if that was asked for.

    The content of a choice's chunks is, put together, the text of the same request without `stream`. An answer is
    recorded before the chunk that finishes it. Closing the generator stops the sampling.
    """
    told: asyncio.Queue[ChunkChoice | None] = asyncio.Queue()
    answers = [_Parts(index, told, with_logprobs=chat.request.logprobs) for index in range(chat.request.n)]
    work = asyncio.create_task(together(_tell(chat, parts) for parts in answers))
    work.add_done_callback(lambda _: told.put_nowait(None))
    with_usage = chat.request.stream_options is not None and chat.request.stream_options.include_usage
    try:
        while (choice := await told.get()) is not None:
            yield _chunk(chat, [choice], with_usage=with_usage)
        samples = await work
        if with_usage:
            yield _chunk(chat, [], with_usage=True, counted=usage(samples))
    finally:
        await stopped(work)


@dataclass
class _Parts:
    """Puts what one answer grew by into a queue, and knows how much of it that was."""

    index: int
    told: "asyncio.Queue[ChunkChoice | None]"
    with_logprobs: bool
    characters: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    begun: bool = field(default=False, init=False)

    def tell(self, piece: Piece) -> None:
        """A part of the answer; the first is preceded by the role."""
        if not self.begun:
            self._put(Delta(role="assistant", content=""))
            self.begun = True
        self.characters += len(piece.text)
        self.tokens += len(piece.tokens)
        if piece.text or (self.with_logprobs and piece.tokens):
            self._put(Delta(content=piece.text), piece)

    def finish(self, sample: Sample, rollout: Rollout) -> None:
        """What was not told yet, and how the answer ended."""
        self.tell(sample.rest(self.characters, self.tokens))
        self.told.put_nowait(
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
        self.told.put_nowait(ChunkChoice(index=self.index, delta=delta, finish_reason=None, logprobs=logprobs))


async def _tell(chat: Chat, parts: _Parts) -> Sample:
    sample, rollout = await chat.choice(parts.index, parts.tell)
    parts.finish(sample, rollout)
    return sample


def _chunk(chat: Chat, choices: list[ChunkChoice], *, with_usage: bool, counted: Usage | None = None) -> ChatChunk:
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
