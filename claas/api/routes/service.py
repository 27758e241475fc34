"""`GET /`, `/health`, `/v1/health` and `/v1/models`."""

from fastapi import APIRouter, Response

import claas
from claas.api.replies import reply
from claas.api.services import Served
from claas.engines.base import Health
from claas.wire.service import SERVICE_NAME, HealthResponse, ModelCard, ModelList, ServiceInfo

router = APIRouter()


@router.get("/", response_model=ServiceInfo)
async def introduction(served: Served) -> Response:
    """Who answers here."""
    return reply(
        ServiceInfo(
            name=SERVICE_NAME,
            version=claas.__version__,
            mode=served.mode,
            base_model=served.engine.base_model,
        )
    )


@router.get("/health", response_model=HealthResponse)
async def liveness(served: Served) -> Response:
    """Whether the engine can serve; open to all, so without its details."""
    health = await served.engine.health()
    return _health(Health(ok=health.ok, base_model=health.base_model))


@router.get("/v1/health", response_model=HealthResponse)
async def health(served: Served) -> Response:
    """Whether the engine can serve, and what it says of itself."""
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


def _health(health: Health) -> Response:
    body = HealthResponse(
        status="ok" if health.ok else "unavailable", base_model=health.base_model, detail=dict(health.detail)
    )
    return reply(body, 200 if health.ok else 503)
