"""`POST /v1/chat/completions`."""

from fastapi import APIRouter, Request, Response

from claas.api.chat import Chat, answer
from claas.api.chat_stream import chunks
from claas.api.event_stream import event_stream
from claas.api.hangup import while_connected
from claas.api.replies import reply
from claas.api.services import Served
from claas.wire.chat import ChatRequest, ChatResponse

router = APIRouter()


@router.post("/v1/chat/completions", response_model=ChatResponse)
async def chat_completions(request: ChatRequest, served: Served, http: Request) -> Response:
    """Answer a conversation, at once or as a stream of events. A client that hangs up stops the sampling."""
    chat = await Chat.begin(served.engine, served.models, served.rollouts, request, truncate=served.truncate_prompt)
    if request.stream:
        return await event_stream(http.receive, chunks(chat))
    return reply(await while_connected(http.receive, answer(chat)))
