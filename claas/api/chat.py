"""One chat request: which weights, which answers, and each answer kept for feedback."""

import time
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from claas.api.conversation import conversation
from claas.api.models import Models
from claas.api.rollouts import RolloutStore
from claas.core.concurrency import together
from claas.core.errors import BadRequest, InvalidInput
from claas.engines.base import Engine, Sample, SamplingParams, TokenLogprob
from claas.wire.chat import (
    AnswerMessage,
    ChatRequest,
    ChatResponse,
    Choice,
    ChoiceLogprobs,
    TokenLogprobs,
    TopLogprob,
    Usage,
)
from claas.wire.rollouts import Rollout

DEFAULT_MAX_TOKENS = 512
"""Bound of an answer when the request sets none."""


async def answer(engine: Engine, models: Models, rollouts: RolloutStore, request: ChatRequest) -> ChatResponse:
    """Sample `n` answers at once, all from the weights that the model's name means now, and record each."""
    params = _sampling_params(request)
    messages = conversation(request.messages)
    weights = await models.weights(request.model)
    each = [_of_choice(params, index) for index in range(request.n)]
    samples = await together(engine.sample(weights, messages, one) for one in each)
    recorded = [rollouts.record(messages, one, sample) for one, sample in zip(each, samples, strict=True)]
    return ChatResponse(
        id=f"chatcmpl-{uuid4().hex}",
        created=int(time.time()),
        model=weights.name,
        choices=[
            _choice(index, sample, rollout, with_logprobs=request.logprobs)
            for index, (sample, rollout) in enumerate(zip(samples, recorded, strict=True))
        ],
        usage=_usage(samples),
        system_fingerprint=weights.digest,
    )


def _sampling_params(request: ChatRequest) -> SamplingParams:
    if request.stream:
        raise BadRequest("streaming is not supported by this version of the API; send stream=false")
    if request.top_logprobs and not request.logprobs:
        raise BadRequest(f"top_logprobs={request.top_logprobs} needs logprobs=true")
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if "" in stop:
        raise InvalidInput("stop must not hold an empty string, got ''")
    return SamplingParams(
        max_tokens=request.max_completion_tokens or request.max_tokens or DEFAULT_MAX_TOKENS,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=stop,
        seed=request.seed,
        top_logprobs=request.top_logprobs or 0,
    )


def _of_choice(params: SamplingParams, index: int) -> SamplingParams:
    """Choice `index` is sampled with the seed plus its index, so that choices differ and yet repeat."""
    return params if params.seed is None else replace(params, seed=params.seed + index)


def _choice(index: int, sample: Sample, rollout: Rollout, *, with_logprobs: bool) -> Choice:
    return Choice(
        index=index,
        message=AnswerMessage(content=sample.text),
        finish_reason=sample.finish_reason,
        logprobs=_logprobs(sample) if with_logprobs else None,
        rollout_id=rollout.id,
        mean_entropy=sample.mean_entropy,
    )


def _logprobs(sample: Sample) -> ChoiceLogprobs:
    alternatives: Sequence[Sequence[TokenLogprob]] = sample.top_logprobs or [()] * len(sample.tokens)
    return ChoiceLogprobs(
        content=[
            TokenLogprobs(
                token=token,
                logprob=logprob,
                bytes=list(token.encode()),
                top_logprobs=[
                    TopLogprob(token=other.token, logprob=other.logprob, bytes=list(other.token.encode()))
                    for other in others
                ],
            )
            for token, logprob, others in zip(sample.tokens, sample.logprobs, alternatives, strict=True)
        ]
    )


def _usage(samples: Sequence[Sample]) -> Usage:
    """The prompt is counted once, however many answers it got."""
    prompt_tokens = len(samples[0].prompt_ids)
    completion_tokens = sum(len(sample.token_ids) for sample in samples)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )
