"""`/v1/lora`: make, list, delete and export adapters."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator

from claas.api.export import chunks_of, zipped
from claas.api.replies import reply
from claas.api.services import Served
from claas.core.checks import adapter_id, served_name
from claas.core.errors import Forbidden
from claas.engines.base import AdapterSpec, Weights
from claas.wire.lora import LoraDeleted, LoraInitRequest, LoraList, LoraVersion

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


@router.get("/v1/lora/export", response_class=StreamingResponse)
async def export(lora_id: LoraId, served: Served, version: Annotated[int | None, Query(ge=0)] = None) -> Response:
    """A version, or the newest, as a zip of the files that PEFT loads."""
    weights = await served.engine.resolve(lora_id, version)
    archive = await zipped(await served.engine.export_adapter(lora_id, weights.version))
    name = f"{served_name(lora_id)}-v{weights.version}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "ETag": f'"{weights.digest}"'}
    return StreamingResponse(chunks_of(archive), media_type="application/zip", headers=headers)


def _version(lora_id: str, weights: Weights) -> LoraVersion:
    return LoraVersion(lora_id=lora_id, version=weights.version, digest=weights.digest, model=weights.name)
