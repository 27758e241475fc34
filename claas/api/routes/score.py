"""`POST /v1/score`."""

import math

from fastapi import APIRouter, Response

from claas.api.conversation import conversation
from claas.api.replies import reply
from claas.api.services import Served
from claas.core.errors import StackError
from claas.wire.score import ScoreRequest, ScoreResponse

router = APIRouter()


@router.post("/v1/score", response_model=ScoreResponse)
async def score(request: ScoreRequest, served: Served) -> Response:
    """Log probabilities of a given answer; a request without a system turn gets the one that chat gives it."""
    weights = await served.models.weights(request.model)
    scored = await served.engine.score(weights, conversation(request.messages), request.completion)
    total = math.fsum(scored.logprobs)
    if not math.isfinite(total):
        raise StackError(f"{scored.weights.name} gave the completion a log probability that is not a number")
    return reply(
        ScoreResponse(
            model=scored.weights.name,
            system_fingerprint=scored.weights.digest,
            tokens=list(scored.tokens),
            logprobs=list(scored.logprobs),
            prompt_tokens=scored.prompt_tokens,
            completion_tokens=len(scored.tokens),
            logprob_sum=total,
        )
    )
