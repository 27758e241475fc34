"""The API as an ASGI app around one engine: served by uvicorn, or hosted in process by the harness."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

import claas
from claas.api import adapter_routes, openai_routes, page_routes, token_routes
from claas.api.config import ApiConfig
from claas.api.errors import add_error_handlers
from claas.api.guards import BearerAuth, BodyLimit, HostCheck, require_text
from claas.api.services import open_services
from claas.engines.base import Engine
from claas.wire.adapters import ErrorBody

_ROUTERS = (
    openai_routes.router,
    token_routes.router,
    adapter_routes.router,
    page_routes.router,
    page_routes.eval_router,
    page_routes.bench_router,
)


def create_app(engine: Engine, config: ApiConfig, *, api_key: str | None = None) -> FastAPI:
    """An app that owns `engine`: when its lifespan ends, it closes the engine and its stores.

    With `api_key`, every path but `/` and `/health` requires it as a bearer token; without, only requests addressed to
    this machine's own names are answered.
    """
    services = open_services(engine, config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await services.close()

    app = FastAPI(
        title="CLaaS",
        version=claas.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        strict_content_type=True,  # a body that is not declared as JSON may come from any web page
        dependencies=[Depends(require_text)],
        responses={"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}},
    )
    app.state.services = services
    add_error_handlers(app)
    for router in _ROUTERS:
        app.include_router(router)
    app.add_middleware(BodyLimit, max_bytes=config.max_body_bytes)
    if api_key is None:
        app.add_middleware(HostCheck)
    else:
        app.add_middleware(BearerAuth, api_key=api_key)
    return app
