"""`POST /v1/rollouts/resolve`."""

from fastapi import APIRouter, Response

from claas.api.conversation import last_user_text
from claas.api.replies import reply
from claas.api.services import Served
from claas.core.errors import NotFound
from claas.wire.rollouts import ResolveRequest, Rollout

router = APIRouter()


@router.post("/v1/rollouts/resolve", response_model=Rollout)
async def resolve(request: ResolveRequest, served: Served) -> Response:
    """The latest recorded answer that showed this text, to that prompt and by those weights where they are named."""
    rollout = served.rollouts.that_showed(request.text, request.prompt, request.model)
    if rollout is not None:
        return reply(rollout)
    other = served.rollouts.that_showed(request.text)
    if other is None:
        raise NotFound("no recorded answer showed this text")
    asked = " and ".join(
        part
        for part, given in (("to this prompt", request.prompt), (f"by {request.model}", request.model))
        if given is not None
    )
    raise NotFound(f"this text was not shown {asked}, but by {other.model} to {last_user_text(other.messages)!r}")
