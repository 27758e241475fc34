"""Adapters, aliases, feedback and rollouts."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator

from claas.api.errors import reply
from claas.api.models import chunks_of, zipped
from claas.api.prompts import last_user_text
from claas.api.services import Served
from claas.core.checks import adapter_id, alias_name, served_name
from claas.core.errors import Forbidden, NotFound
from claas.core.text import quoted
from claas.engines.base import AdapterSpec, Weights
from claas.wire.adapters import Alias, AliasDeleted, AliasRequest, LoraDeleted, LoraInitRequest, LoraList, LoraVersion
from claas.wire.feedback import IDEMPOTENCY_HEADER, FeedbackRequest, FeedbackResponse, ResolveRequest, Rollout

router = APIRouter()

LoraId = Annotated[str, Query(), AfterValidator(adapter_id)]


@router.post("/v1/lora/init", response_model=LoraVersion)
async def init(request: LoraInitRequest, served: Served) -> Response:
    """Make version 0 of a new adapter."""
    lora_id, base_model = adapter_id(request.lora_id), served.engine.base_model
    if request.base_model not in (None, base_model):
        raise Forbidden(f"base_model {request.base_model!r} is not served here; this API serves {base_model!r}")
    modules = None if request.target_modules is None else tuple(request.target_modules)
    spec = AdapterSpec(
        lora_id, rank=request.lora_r, alpha=request.lora_alpha, target_modules=modules, seed=request.seed
    )
    async with served.models.making(lora_id):
        weights = await served.engine.init_adapter(spec)
    return reply(_version(lora_id, weights))


@router.get("/v1/lora", response_model=LoraList)
async def newest_versions(served: Served, prefix: str = "") -> Response:
    """The newest version of every adapter whose id begins with `prefix`."""
    adapters = await served.engine.list_adapters(prefix)
    return reply(LoraList(loras=[_version(weights.lora_id, weights) for weights in adapters if weights.lora_id]))


@router.delete("/v1/lora", response_model=LoraDeleted)
async def delete(lora_id: LoraId, served: Served) -> Response:
    """Remove an adapter and all its versions; to remove it again is no error."""
    deleted = await served.engine.delete_adapter(lora_id)
    served.models.forget(lora_id)
    return reply(LoraDeleted(deleted=deleted))


@router.get("/v1/lora/export", response_model=None, responses={200: {"content": {"application/zip": {}}}})
async def export(lora_id: LoraId, served: Served, version: Annotated[int | None, Query(ge=0)] = None) -> Response:
    """A version, or the newest, as a zip of the files that PEFT loads."""
    weights = await served.engine.resolve(lora_id, version)
    archive = await zipped(await served.engine.export_adapter(lora_id, weights.version))
    name = f"{served_name(lora_id)}-v{weights.version}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "ETag": f'"{weights.digest}"'}
    return StreamingResponse(chunks_of(archive), media_type="application/zip", headers=headers)


def _version(lora_id: str, weights: Weights) -> LoraVersion:
    return LoraVersion(lora_id=lora_id, version=weights.version, digest=weights.digest, model=weights.name)


AliasName = Annotated[str, Path(), AfterValidator(alias_name)]


@router.put("/v1/aliases/{name}", response_model=Alias)
async def put_alias(name: AliasName, request: AliasRequest, served: Served) -> Response:
    """Let a name mean an adapter, one of its versions, or the base model."""
    weights = await served.models.set_alias(name, request.target)
    return reply(Alias(alias=name, target=request.target, model=weights.name, digest=weights.digest))


@router.get("/v1/aliases/{name}", response_model=Alias)
async def read_alias(name: AliasName, served: Served) -> Response:
    """What an alias means now."""
    target, weights = await served.models.alias(name)
    return reply(Alias(alias=name, target=target, model=weights.name, digest=weights.digest))


@router.delete("/v1/aliases/{name}", response_model=AliasDeleted)
async def delete_alias(name: AliasName, served: Served) -> Response:
    """Remove an alias; to remove it again is no error."""
    return reply(AliasDeleted(deleted=await served.models.remove_alias(name)))


Key = Annotated[str | None, Header(alias=IDEMPOTENCY_HEADER, min_length=1, max_length=255)]


@router.post("/v1/feedback", response_model=FeedbackResponse)
async def feedback(request: FeedbackRequest, served: Served, key: Key = None) -> Response:
    """Train one update on what a person said about recorded answers."""
    return reply(await served.feedback.give(request, key))


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
