"""`GET /`, health, models, chat, completions and scores."""

import math
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import HTMLResponse

import claas
from claas.api.chat import PreparedChat, answer
from claas.api.completions import complete, completion_chunks
from claas.api.errors import reply, reply_of_choices
from claas.api.prompts import conversation, prompt_digest, require_size
from claas.api.services import Served
from claas.api.stream import chunks, event_stream, while_connected
from claas.core.concurrency import TEXT_THREADS
from claas.core.errors import NotFound, StackError
from claas.core.settings import MODES
from claas.dashboard.pages import PAGE_HEADERS, home_page
from claas.engines.types import Health
from claas.wire.adapters import SERVICE_NAME, HealthResponse, ModelCard, ModelList, ServiceInfo, WorkerHealth
from claas.wire.chat import ChatRequest, ChatResponse
from claas.wire.completions import CompletionRequest, CompletionResponse, ScoreRequest, ScoreResponse

router = APIRouter()

_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"model": HealthResponse}}


@router.get("/", response_model=ServiceInfo)
async def introduction(served: Served, accept: Annotated[str, Header()] = "") -> Response:
    """The name and version of this API as JSON; for browsers, a page with links to the others."""
    if "text/html" in accept:
        page = home_page(served.mode, served.engine.base_model, claas.__version__)
        return HTMLResponse(page, headers={**PAGE_HEADERS, "Vary": "Accept"})
    return reply(
        ServiceInfo(
            name=SERVICE_NAME,
            version=claas.__version__,
            mode=served.mode,
            base_model=served.engine.base_model,
            base_source=served.engine.base_source,
            uses_predictions=served.mode in MODES and MODES[served.mode].uses_predictions,
        )
    )


@router.get("/health", response_model=HealthResponse, responses=_UNAVAILABLE)
async def liveness(served: Served) -> Response:
    """Whether the engine can serve; open to everybody, so without details."""
    health = await served.engine.health()
    return _health(Health(ok=health.ok, base_model=health.base_model))


@router.get("/v1/health", response_model=HealthResponse, responses=_UNAVAILABLE)
async def health(served: Served) -> Response:
    """Whether the engine can serve, and facts about it."""
    return _health(await served.engine.health())


@router.get("/v1/models", response_model=ModelList)
async def models(served: Served) -> Response:
    """The names that chat requests may use; each adapter's versions are reached as `name@version`."""
    return reply(ModelList(data=[ModelCard(id=name) for name in await served.models.names()]))


@router.get("/v1/models/{model:path}", response_model=ModelCard)
async def model(model: str, served: Served) -> Response:
    """One name, if chat requests may use it; `name@version` too."""
    await served.models.weights(model)
    return reply(ModelCard(id=model))


@router.get("/v1/sampler/status", include_in_schema=False)
async def sampler_status() -> Response:
    """For clients of kfallah/CLaaS: the weights that are sampled from."""
    raise NotFound(
        "there is no sampler to ask: each reply names its weights as `model` and `system_fingerprint`, and "
        "GET /v1/lora lists every adapter's newest version"
    )


def _health(health: Health) -> Response:
    body = HealthResponse(
        status="ok" if health.ok else "unavailable",
        base_model=health.base_model,
        detail=dict(health.detail),
        worker=WorkerHealth(status="healthy")
        if health.ok
        else WorkerHealth(status="unhealthy", error="the engine cannot serve"),
    )
    return reply(body, 200 if health.ok else 503)


@router.post(
    "/v1/chat/completions", response_model=ChatResponse, responses={200: {"content": {"text/event-stream": {}}}}
)
async def chat_completions(request: ChatRequest, served: Served, http: Request) -> Response:
    """Answer a conversation, in one reply or as a stream of events. Sampling stops when the client hangs up."""
    served.unknown_fields.check(request)
    chat = await PreparedChat.of(
        served.engine, served.models, served.rollouts, request, truncate=served.truncate_prompt
    )
    if request.stream:
        return await event_stream(http.receive, chunks(chat))
    return await while_connected(http.receive, answer(chat))


@router.post(
    "/v1/completions", response_model=CompletionResponse, responses={200: {"content": {"text/event-stream": {}}}}
)
async def completions(request: CompletionRequest, served: Served, http: Request) -> Response:
    """Continue text or tokens as they are, in one reply or as events. Sampling stops when the client hangs up."""
    served.unknown_fields.check(request)
    if request.stream:
        return await event_stream(http.receive, completion_chunks(served.engine, served.models, request))
    whole = await while_connected(http.receive, complete(served.engine, served.models, request))
    return await TEXT_THREADS.run(reply_of_choices, whole.model_copy(update={"choices": []}), whole.choices)


@router.post("/v1/score", response_model=ScoreResponse)
async def score(request: ScoreRequest, served: Served) -> Response:
    """Log probabilities of a given answer to a conversation, with the same chat template as in a chat."""
    weights = await served.models.weights(request.model)
    messages = conversation(request.messages, request.chat_template_kwargs)
    require_size(served.engine, len(request.completion) + sum(len(turn["content"]) for turn in messages))
    scored = await served.engine.score(weights, messages, request.completion)
    total = math.fsum(scored.logprobs)
    if not math.isfinite(total):
        raise StackError(f"{scored.weights.name} gave the completion a log probability that is not a number")
    return reply(
        ScoreResponse(
            model=scored.weights.name,
            system_fingerprint=scored.weights.digest,
            tokens=list(scored.tokens),
            logprobs=list(scored.logprobs),
            prompt_tokens=len(scored.prompt_ids),
            prompt_digest=prompt_digest(scored.prompt_ids),
            completion_tokens=len(scored.tokens),
            logprob_sum=total,
        )
    )
