"""`POST /v1/feedback`."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from claas.api.replies import reply
from claas.api.services import Served
from claas.wire.feedback import IDEMPOTENCY_HEADER, FeedbackRequest, FeedbackResponse

router = APIRouter()

Key = Annotated[str | None, Header(alias=IDEMPOTENCY_HEADER, min_length=1, max_length=255)]


@router.post("/v1/feedback", response_model=FeedbackResponse)
async def feedback(request: FeedbackRequest, served: Served, key: Key = None) -> Response:
    """Train one update on what a person said about recorded answers."""
    return reply(await served.feedback.give(request, key))
