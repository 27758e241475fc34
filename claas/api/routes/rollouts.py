"""`POST /v1/rollouts/resolve`."""

from fastapi import APIRouter, Response

from claas.api.replies import reply
from claas.api.services import Served
from claas.core.errors import NotFound
from claas.wire.rollouts import ResolveRequest, Rollout

router = APIRouter()


@router.post("/v1/rollouts/resolve", response_model=Rollout)
async def resolve(request: ResolveRequest, served: Served) -> Response:
    """The latest recorded answer that showed this text."""
    rollout = served.rollouts.that_showed(request.text)
    if rollout is None:
        raise NotFound("no recorded answer showed this text")
    return reply(rollout)
