"""`POST /v1/completions`."""

from fastapi import APIRouter, Request, Response

from claas.api.completions import complete
from claas.api.hangup import while_connected
from claas.api.replies import reply
from claas.api.services import Served
from claas.wire.completions import CompletionRequest, CompletionResponse

router = APIRouter()


@router.post("/v1/completions", response_model=CompletionResponse)
async def completions(request: CompletionRequest, served: Served, http: Request) -> Response:
    """Continue text or tokens as they are. A client that hangs up stops the sampling."""
    return reply(await while_connected(http.receive, complete(served.engine, served.models, request)))
