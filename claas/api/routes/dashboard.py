"""`GET /v1/dashboard`."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from claas.api.services import Served
from claas.dashboard.feedback.feedback_page import feedback_page
from claas.dashboard.pages import PAGE_HEADERS

router = APIRouter()

Page = Annotated[int, Query(ge=1)]
PerPage = Annotated[int, Query(ge=1, le=100)]


@router.get("/favicon.ico", include_in_schema=False)
async def icon() -> Response:
    """None: browsers ask for it beside every page."""
    return Response(status_code=204)


@router.get("/v1/dashboard", response_model=None, responses={200: {"content": {"text/html": {}}}})
async def dashboard(served: Served, page: Page = 1, per_page: PerPage = 20) -> HTMLResponse:
    """The feedback log as a page, newest batch first."""
    shown = await asyncio.to_thread(feedback_page, served.feedback_log.directory, page, per_page)
    return HTMLResponse(shown, headers=PAGE_HEADERS)
