"""`/v1/aliases/{name}`: set, read and remove an alias."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator

from claas.api.replies import reply
from claas.api.services import Served
from claas.core.checks import alias_name
from claas.wire.aliases import Alias, AliasDeleted, AliasRequest

router = APIRouter()

Name = Annotated[str, Path(), AfterValidator(alias_name)]


@router.put("/v1/aliases/{name}", response_model=Alias)
async def put(name: Name, request: AliasRequest, served: Served) -> Response:
    """Let a name mean an adapter, one of its versions, or the base model."""
    weights = await served.models.set_alias(name, request.target)
    return reply(Alias(alias=name, target=request.target, model=weights.name, digest=weights.digest))


@router.get("/v1/aliases/{name}", response_model=Alias)
async def read(name: Name, served: Served) -> Response:
    """What an alias means now."""
    target, weights = await served.models.alias(name)
    return reply(Alias(alias=name, target=target, model=weights.name, digest=weights.digest))


@router.delete("/v1/aliases/{name}", response_model=AliasDeleted)
async def delete(name: Name, served: Served) -> Response:
    """Remove an alias; to remove it again is no error."""
    return reply(AliasDeleted(deleted=await served.models.remove_alias(name)))
