"""One chat request: which weights, which answers, and each answer kept for feedback."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from fastapi import Response

from claas.api.errors import reply_of_choices
from claas.api.models import Models
from claas.api.prompts import FittedPrompt, conversation, cut_to_fit, require_listable, stop_strings, uncut
from claas.api.rollouts import RolloutStore
from claas.core.concurrency import together, unblocked
from claas.core.errors import BadRequest
from claas.core.thinking import told_apart
from claas.engines.base import Engine
from claas.engines.types import OnPiece, Piece, Sample, SamplingParams, TokenLogprob, Weights
from claas.wire.chat import (
    AnswerMessage,
    ChatRequest,
    ChatResponse,
    Choice,
    ChoiceLogprobs,
    CompletionTokensDetails,
    TokenLogprobs,
    TopLogprob,
    Usage,
)
from claas.wire.feedback import Rollout

DEFAULT_MAX_TOKENS = 512
"""The `max_tokens` of an answer if the request sets none."""


@dataclass(frozen=True)
class PreparedChat:
    """One checked request, to be sampled from the weights that the model's name meant when it arrived."""

    engine: Engine
    rollouts: RolloutStore
    weights: Weights
    prompt: FittedPrompt
    params: SamplingParams
    request: ChatRequest
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    async def of(
        cls, engine: Engine, models: Models, rollouts: RolloutStore, request: ChatRequest, *, truncate: bool
    ) -> "PreparedChat":
        """Check `request` and resolve its weights; with `truncate`, cut a prompt that does not fit the window."""
        params = _sampling_params(request)
        if request.logprobs:
            longest = min(params.max_tokens, engine.window)
            require_listable(request.n, request.n * longest * (1 + params.top_logprobs))
        weights = await models.weights(request.model)
        messages = conversation(request.messages, request.chat_template_kwargs)
        prompt = await (cut_to_fit(engine, messages, params.max_tokens) if truncate else uncut(engine, messages))
        return cls(engine, rollouts, weights, prompt, params, request)

    async def choice(self, index: int, on_piece: OnPiece | None = None) -> tuple[Sample, Rollout]:
        """Sample answer `index` and record it. With a seed, choices differ and yet repeat: each has the next one."""
        params = self.params.of_choice(index)
        sample = await self.engine.sample(self.weights, self.prompt.messages, params, on_piece)
        recorded = await self.rollouts.record(self.prompt, params, sample)
        return sample, recorded


async def answer(chat: PreparedChat) -> Response:
    """Sample all answers at once."""
    answered = await together(chat.choice(index) for index in range(chat.request.n))
    tokens = sum(len(sample.token_ids) for sample, _ in answered)
    return await unblocked(tokens * (1 + chat.params.top_logprobs), _reply, chat, answered)


def _reply(chat: PreparedChat, answered: Sequence[tuple[Sample, Rollout]]) -> Response:
    body = ChatResponse(
        id=chat.id,
        created=chat.created,
        model=chat.weights.name,
        choices=[],
        usage=usage([sample for sample, _ in answered]),
        system_fingerprint=chat.weights.digest,
    )
    return reply_of_choices(
        body,
        (
            _choice(index, sample, rollout, with_logprobs=chat.request.logprobs)
            for index, (sample, rollout) in enumerate(answered)
        ),
    )


def choice_logprobs(piece: Piece) -> ChoiceLogprobs:
    """The log probabilities of a piece's tokens."""
    alternatives: Sequence[Sequence[TokenLogprob]] = piece.top_logprobs or [()] * len(piece.tokens)
    return ChoiceLogprobs(
        content=[
            TokenLogprobs(
                token=scored.token,
                logprob=scored.logprob,
                bytes=_bytes(scored),
                top_logprobs=[
                    TopLogprob(token=other.token, logprob=other.logprob, bytes=_bytes(other)) for other in others
                ],
            )
            for scored, others in zip(piece.tokens, alternatives, strict=True)
        ]
    )


def usage(samples: Sequence[Sample]) -> Usage:
    """The token usage; the prompt is counted once, however many answers it got."""
    prompt_tokens = len(samples[0].prompt_ids)
    completion_tokens = sum(len(sample.token_ids) for sample in samples)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        completion_tokens_details=CompletionTokensDetails(
            accepted_prediction_tokens=sum(sample.accepted_prediction_tokens for sample in samples),
            rejected_prediction_tokens=sum(sample.rejected_prediction_tokens for sample in samples),
        ),
    )


def _sampling_params(request: ChatRequest) -> SamplingParams:
    if request.top_logprobs and not request.logprobs:
        raise BadRequest(f"top_logprobs={request.top_logprobs} needs logprobs=true")
    return SamplingParams(
        max_tokens=request.max_completion_tokens or request.max_tokens or DEFAULT_MAX_TOKENS,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=stop_strings(request.stop),
        seed=request.seed,
        top_logprobs=request.top_logprobs or 0,
        prediction=request.prediction.text if request.prediction else "",
        urgent=(request.priority or 0) < 0,
    )


def _choice(index: int, sample: Sample, rollout: Rollout, *, with_logprobs: bool) -> Choice:
    spoken = told_apart(rollout.text, opened=rollout.opens_thinking)
    return Choice(
        index=index,
        message=AnswerMessage(content=spoken.answer, reasoning_content=spoken.thinking or None),
        finish_reason=sample.finish_reason,
        logprobs=choice_logprobs(sample.rest()) if with_logprobs else None,
        rollout_id=rollout.id,
        mean_entropy=sample.mean_entropy,
    )


def _bytes(scored: TokenLogprob) -> list[int] | None:
    return None if scored.raw is None else list(scored.raw)
