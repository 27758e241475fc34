"""One completion request: prompts are continued as plain text and, with `echo`, returned with their logprobs.

Completions are not recorded as rollouts: feedback is given on the answer to a person's turn, and here there is none."""

import asyncio
import codecs
import math
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import uuid4

from claas.api.models import Models
from claas.api.prompts import require_listable, require_size, stop_strings
from claas.core.concurrency import both, together, unblocked
from claas.core.errors import BadRequest, StackError
from claas.core.text import PART_OF_A_CHARACTER, looks_special
from claas.engines.base import Engine
from claas.engines.types import PromptLogprobs, Sample, SamplingParams, TokenIds, TokenLogprob, Weights, require_window
from claas.wire.chat import CompletionTokensDetails, Usage
from claas.wire.completions import CompletionChoice, CompletionLogprobs, CompletionRequest, CompletionResponse

_MOST_CHOICES = 1024
_AT_ONCE = 128
"""Prompts under way at the same time."""


async def complete(engine: Engine, models: Models, request: CompletionRequest) -> CompletionResponse:
    """Continue every prompt, all at once and from the weights that the model's name means now."""
    params = _sampling_params(request)
    weights = await models.weights(request.model)
    prompts = [await _tokens(engine, prompt, params.max_tokens) for prompt in request.prompts]
    listed = sum(_listed(engine, prompt, request) for prompt in prompts)
    require_listable(len(prompts) * request.n, listed)
    continuation = _Continuation(engine, weights, params, request)
    completed = await together(continuation.of(prompt) for prompt in prompts)
    shown = [await _shown(engine, *each) if request.echo else "" for each in zip(prompts, request.prompts, strict=True)]
    return await unblocked(listed, _response, request, weights, prompts, shown, completed)


async def _tokens(engine: Engine, prompt: str | list[int], max_tokens: int) -> TokenIds:
    """The tokens of a prompt that fits; others have their turn before."""
    await asyncio.sleep(0)
    if isinstance(prompt, str):
        require_size(engine, len(prompt))
        tokens = await engine.encode(prompt)
    else:
        tokens = TokenIds(tuple(prompt))
    require_window(len(tokens.ids), min(max_tokens, 1), window=engine.window, base_model=engine.base_model)
    return tokens


def _listed(engine: Engine, prompt: TokenIds, request: CompletionRequest) -> int:
    """How many log probabilities the reply may list for a prompt and its continuations."""
    if request.logprobs is None:
        return 0
    longest = min(request.max_tokens, engine.window - len(prompt.ids)) + (len(prompt.ids) if request.echo else 0)
    return request.n * longest * (1 + request.logprobs)


async def _shown(engine: Engine, prompt: TokenIds, written: str | list[int]) -> str:
    return written if isinstance(written, str) else await engine.decode(prompt)


Completed: TypeAlias = tuple[PromptLogprobs | None, list[Sample | None]]
"""A prompt read, where its log probabilities are wanted, and its `n` continuations, None where none is."""


def _response(
    request: CompletionRequest,
    weights: Weights,
    prompts: Sequence[TokenIds],
    shown: Sequence[str],
    completed: Sequence[Completed],
) -> CompletionResponse:
    each = [(text, reading, one) for text, (reading, samples) in zip(shown, completed, strict=True) for one in samples]
    prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
    completion_tokens = sum(len(one.token_ids) for _, samples in completed for one in samples if one is not None)
    return CompletionResponse(
        id=f"cmpl-{uuid4().hex}",
        object="text_completion",  # events leave out what is not set
        created=int(time.time()),
        model=weights.name,
        choices=[_choice(request, index, *one) for index, one in enumerate(each)],
        usage=Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            completion_tokens_details=CompletionTokensDetails(
                accepted_prediction_tokens=0, rejected_prediction_tokens=0
            ),
        ),
        system_fingerprint=weights.digest,
    )


async def completion_chunks(
    engine: Engine, models: Models, request: CompletionRequest
) -> AsyncGenerator[CompletionResponse]:
    """The result of `complete` as events, one per choice, then the usage if requested; all come at the end."""
    whole = await complete(engine, models, request)
    for choice in whole.choices:
        yield whole.model_copy(update={"choices": [choice], "usage": None})
    if request.stream_options is not None and request.stream_options.include_usage:
        yield whole.model_copy(update={"choices": []})


def _sampling_params(request: CompletionRequest) -> SamplingParams:
    if (wanted := len(request.prompts) * request.n) > _MOST_CHOICES:
        raise BadRequest(f"prompts times n is {wanted}; one request may ask for {_MOST_CHOICES} completions at most")
    if request.max_tokens == 0 and not request.echo:
        raise BadRequest("max_tokens=0 needs echo=true: there would be nothing to return")
    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=stop_strings(request.stop),
        seed=request.seed,
        top_logprobs=request.logprobs or 0,
    )


@dataclass(frozen=True)
class _Continuation:
    """How prompts are continued: a checked request, and the weights that the model's name meant when it came."""

    engine: Engine
    weights: Weights
    params: SamplingParams
    request: CompletionRequest
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def of(self, prompt: TokenIds) -> Completed:
        """Wait for a turn, then read and continue the prompt."""
        async with self.gate:
            return await both(
                self._read(prompt),
                together(self._sampled(prompt, index) for index in range(self.request.n)),
            )

    async def _read(self, prompt: TokenIds) -> PromptLogprobs | None:
        if not self.request.echo or self.request.logprobs is None:
            return None
        reading = await self.engine.read(self.weights, prompt, self.request.logprobs)
        require_numbers(self.weights, reading.logprobs)
        return reading

    async def _sampled(self, prompt: TokenIds, index: int) -> Sample | None:
        """Continuation `index`, with a seed of its own; None where no token is wanted."""
        if self.params.max_tokens == 0:
            return None
        sample = await self.engine.sample(self.weights, prompt, self.params.of_choice(index))
        require_numbers(self.weights, sample.logprobs)
        return sample


def require_numbers(weights: Weights, logprobs: Iterable[float]) -> None:
    """Raise `StackError` if the weights are broken, so that their log probabilities are not numbers."""
    if not all(map(math.isfinite, logprobs)):
        raise StackError(f"{weights.name} gave a token a log probability that is not a number")


def _choice(
    request: CompletionRequest, index: int, shown: str, reading: PromptLogprobs | None, sample: Sample | None
) -> CompletionChoice:
    text = shown + (sample.text if sample else "")
    return CompletionChoice(
        index=index,
        text=text,
        finish_reason=sample.finish_reason if sample else "length",
        logprobs=None if request.logprobs is None else legacy_logprobs(text, len(shown), reading, sample),
    )


def legacy_logprobs(text: str, shown: int, reading: PromptLogprobs | None, sample: Sample | None) -> CompletionLogprobs:
    """The log probabilities of a choice: of the echoed prompt, where it was read, and of the sampled tokens.

    `text` is the choice's text, of which the first `shown` characters are the prompt's.
    """
    tokens: list[str] = []
    logprobs: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    offsets: list[int] = []
    if reading is not None:
        tokens += map(_written, reading.tokens, reading.token_bytes)
        logprobs += [None, *reading.logprobs]
        tops += [None, *_tops(tokens[1:], reading.logprobs, reading.top_logprobs)]
        offsets += _offsets(reading.tokens, reading.token_bytes, text[:shown], 0)
    if sample is not None:
        token_bytes = sample.token_bytes or (None,) * len(sample.tokens)
        sampled = list(map(_written, sample.tokens, token_bytes))
        tokens += sampled
        logprobs += sample.logprobs
        tops += _tops(sampled, sample.logprobs, sample.top_logprobs)
        offsets += _offsets(sample.tokens, token_bytes, text[shown:], shown)
    return CompletionLogprobs(tokens=tokens, token_logprobs=logprobs, top_logprobs=tops, text_offset=offsets)


def _written(token: str, raw: bytes | None) -> str:
    """A token's text, or its bytes if it is only part of a character."""
    if raw is None or PART_OF_A_CHARACTER not in token:
        return token
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _tops(
    tokens: Sequence[str], logprobs: Sequence[float], alternatives: Sequence[Sequence[TokenLogprob]]
) -> list[dict[str, float]]:
    """The alternatives to each token, and the token itself; of two that read the same, the likelier."""
    tops: list[dict[str, float]] = []
    for token, logprob, others in zip(tokens, logprobs, alternatives or [()] * len(tokens), strict=True):
        top: dict[str, float] = {}
        for other in others:
            top.setdefault(_written(other.token, other.raw), other.logprob)
        top.setdefault(token, logprob)
        tops.append(top)
    return tops


def _offsets(tokens: Sequence[str], raws: Sequence[bytes | None], text: str, start: int) -> list[int]:
    """The offset, in characters, at which each token begins in a `text` that itself begins at `start`.

    What the text does not show (a token that begins every prompt, the end of a turn) has no width. Some vocabularies
    put a space in front of the first word, which the text does not show either.
    """
    offsets: list[int] = []
    characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
    at = 0
    for token, raw in zip(tokens, raws, strict=True):
        own = token.encode() if raw is None else raw
        if not _continues(own):
            at += len(characters.decode(b"", final=True))  # a character that stays unfinished is shown as U+FFFD
        offsets.append(start + at)
        said = characters.decode(own)
        if not text.startswith(said, at) and text.startswith(said.removeprefix(" "), at):
            said = said.removeprefix(" ")
        if text.startswith(said, at) or not looks_special(token):
            at = min(at + len(said), len(text))
    return offsets


def _continues(raw: bytes) -> bool:
    """Whether the bytes begin in the middle of a character."""
    return raw[:1] >= b"\x80" and raw[:1] < b"\xc0"
