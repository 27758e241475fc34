"""`POST /v1/chat/completions`."""

from fastapi import APIRouter, Response

from claas.api.chat import answer
from claas.api.replies import reply
from claas.api.services import Served
from claas.wire.chat import ChatRequest, ChatResponse

router = APIRouter()


@router.post("/v1/chat/completions", response_model=ChatResponse)
async def chat_completions(request: ChatRequest, served: Served) -> Response:
    """Answer a conversation."""
    return reply(await answer(served.engine, served.models, served.rollouts, request))
