"""`POST /v1/rollouts/resolve`."""

from fastapi import APIRouter, Response

from claas.api.conversation import last_user_text
from claas.api.replies import reply
from claas.api.services import Served
from claas.core.errors import NotFound
from claas.core.text import quoted
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
    raise NotFound(f"this text was not shown {_asked(request)}, but {_by(other)}")


def _asked(request: ResolveRequest) -> str:
    parts = ["" if request.prompt is None else "to this prompt", "" if request.model is None else f"by {request.model}"]
    return " and ".join(filter(None, parts))


def _by(other: Rollout) -> str:
    return f"by {other.model} to {quoted(last_user_text(other.messages))}"
