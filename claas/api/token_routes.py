"""Tokens: of a text and back, what the tokenizer is, and what may follow a prompt."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from claas.api.completions import require_numbers
from claas.api.errors import reply
from claas.api.prompts import conversation
from claas.api.services import Served
from claas.api.stream import while_connected
from claas.core.concurrency import unblocked
from claas.engines.types import TokenIds
from claas.wire.completions import ContinuationsRequest, ContinuationsResponse, ScoredContinuation
from claas.wire.tokens import DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse, TokenizerInfo

router = APIRouter()


@router.post("/tokenize", response_model=TokenizeResponse)
async def tokenize(request: TokenizeRequest, served: Served) -> Response:
    """The tokens of a text, as a completion would read it, or of a conversation, as a chat would.

    They may be more than the window has. One text at a time.
    """
    if request.model is not None:
        await served.models.weights(request.model)
    async with served.tokenizing:
        if request.messages is not None:
            text = conversation(request.messages, request.chat_template_kwargs)
        else:
            text = request.prompt or ""
        ids = (await served.engine.encode(text, request.add_special_tokens)).ids
        return await unblocked(len(ids), _tokenized, ids, served.engine.window)


def _tokenized(ids: Sequence[int], window: int) -> Response:
    return reply(TokenizeResponse(count=len(ids), max_model_len=window, tokens=list(ids)))


@router.post("/detokenize", response_model=DetokenizeResponse)
async def detokenize(request: DetokenizeRequest, served: Served) -> Response:
    """What tokens read as; they may be more than the window has. One text at a time."""
    if request.model is not None:
        await served.models.weights(request.model)
    async with served.tokenizing:
        return reply(DetokenizeResponse(prompt=await served.engine.decode(TokenIds(tuple(request.tokens)))))


@router.get("/tokenizer_info", response_model=TokenizerInfo)
async def tokenizer_info(served: Served) -> Response:
    """The configuration of the tokenizer that all models here share."""
    return reply(TokenizerInfo.model_validate(await served.engine.tokenizer_info()))


@router.post("/v1/score/continuations", response_model=ContinuationsResponse)
async def score_continuations(request: ContinuationsRequest, served: Served, http: Request) -> Response:
    """Log probabilities of what may follow a prompt, which is read once. A client that hangs up is not scored for."""
    weights = await served.models.weights(request.model)
    scored = await while_connected(
        http.receive,
        served.engine.score_continuations(weights, TokenIds(tuple(request.prompt)), request.continuations),
    )
    require_numbers(weights, (logprob for each in scored for logprob in each.logprobs))
    body = ContinuationsResponse(
        model=weights.name,
        system_fingerprint=weights.digest,
        prompt_tokens=len(request.prompt),
        continuations=[
            ScoredContinuation(logprobs=list(each.logprobs), likeliest=list(each.likeliest)) for each in scored
        ],
    )
    return reply(body)
