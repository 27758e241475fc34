"""The API as an ASGI app around one engine: served by uvicorn, or hosted in process by the harness."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

import claas
from claas.api.auth import BearerAuth
from claas.api.body_limit import BodyLimit
from claas.api.config import ApiConfig
from claas.api.errors import add_error_handlers
from claas.api.host_check import HostCheck
from claas.api.routes import (
    aliases,
    chat,
    completions,
    dashboard,
    eval_assets,
    eval_pages,
    feedback,
    lora,
    rollouts,
    score,
    service,
)
from claas.api.services import open_services
from claas.api.whole_text import require_whole_text
from claas.engines.base import Engine
from claas.wire.service import ErrorBody

_ROUTES = (
    chat,
    completions,
    score,
    rollouts,
    feedback,
    lora,
    aliases,
    service,
    dashboard,
    eval_pages,
    eval_assets,
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
        dependencies=[Depends(require_whole_text)],
        responses={"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}},
    )
    app.state.services = services
    add_error_handlers(app)
    for routes in _ROUTES:
        app.include_router(routes.router)
    app.add_middleware(BodyLimit, max_bytes=config.max_body_bytes)
    if api_key is None:
        app.add_middleware(HostCheck)
    else:
        app.add_middleware(BearerAuth, api_key=api_key)
    return app
