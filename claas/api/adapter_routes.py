"""Adapters, aliases, feedback and rollouts."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Annotated
from zipfile import ZIP_STORED, ZipFile

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator

from claas.api.errors import reply
from claas.api.models import own_id
from claas.api.prompts import last_user_text
from claas.api.services import Served
from claas.core.checks import adapter_id, alias_name, served_name
from claas.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StackError
from claas.core.text import quoted
from claas.engines.base import CheckpointImporter
from claas.engines.store import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from claas.engines.types import AdapterSpec, Weights
from claas.wire import Count
from claas.wire.adapters import (
    Alias,
    AliasDeleted,
    AliasRequest,
    LoraDeleted,
    LoraImportRequest,
    LoraInitRequest,
    LoraList,
    LoraVersion,
)
from claas.wire.feedback import IDEMPOTENCY_HEADER, FeedbackRequest, FeedbackResponse, ResolveRequest, Rollout

router = APIRouter()

LoraId = Annotated[str, Query(), AfterValidator(adapter_id)]


@router.post("/v1/lora/init", response_model=LoraVersion)
async def init(request: LoraInitRequest, served: Served) -> Response:
    """Create version 0 of a new adapter, or return an existing one that is exactly what would be created.

    Nothing learnt is lost: if the adapter has been trained, a new one gets the first free id of `<id>-anew-2`,
    `<id>-anew-3`, ..., which the reply names.
    """
    lora_id, base_model = adapter_id(request.lora_id), served.engine.base_model
    if request.base_model not in (None, base_model):
        raise Forbidden(f"base_model {request.base_model!r} is not served here; this API serves {base_model!r}")
    if request.if_trained == "anew":
        lora_id = await served.models.untrained_id(lora_id)
    modules = None if request.target_modules is None else tuple(request.target_modules)
    spec = AdapterSpec(
        lora_id, rank=request.lora_r, alpha=request.lora_alpha, target_modules=modules, seed=request.seed
    )
    async with served.models.making(lora_id):
        weights = await served.engine.init_adapter(spec)
    return reply(_version(lora_id, weights))


@router.post("/v1/lora/import", response_model=LoraVersion)
async def import_adapter(request: LoraImportRequest, served: Served) -> Response:
    """Create version 0 of a new adapter from given weights; importing the same again makes nothing new."""
    lora_id, engine = adapter_id(request.lora_id), served.engine
    if request.checkpoint is not None:
        if not isinstance(engine, CheckpointImporter):
            raise InvalidInput(f"checkpoint: there are none with mode={served.mode}; give config and weights")
        async with served.models.making(lora_id):
            return reply(_version(lora_id, await engine.import_checkpoint(lora_id, request.checkpoint)))
    weights = await asyncio.to_thread(_decoded, request.weights or "")
    async with served.models.making(lora_id):
        made = await engine.import_adapter(lora_id, request.config or {}, weights)
    return reply(_version(lora_id, made))


def _decoded(weights: str) -> bytes:
    try:
        return base64.b64decode(weights, validate=True)
    except ValueError as error:
        raise InvalidInput(f"weights must be a safetensors file in base64: {error}") from None


@router.get("/v1/lora", response_model=LoraList)
async def newest_versions(served: Served, prefix: str = "") -> Response:
    """The newest version of every adapter whose id begins with `prefix`."""
    newest = await served.engine.list_adapters(prefix)
    adapters = [_version(weights.lora_id, weights) for weights in newest if weights.lora_id]
    return reply(LoraList(loras=[adapter.lora_id for adapter in adapters], adapters=adapters))


@router.delete("/v1/lora", response_model=LoraDeleted)
async def delete(lora_id: LoraId, served: Served) -> Response:
    """Remove an adapter and all its versions; removing it again is no error. It must be named by its own id."""
    own = await own_id(served.engine, lora_id)
    if own != lora_id:
        raise Conflict(f"{lora_id!r} is another name of adapter {own!r}; to remove that, say lora_id={own}")
    deleted = await served.engine.delete_adapter(lora_id)
    served.models.forget(lora_id)
    return reply(LoraDeleted(deleted=deleted))


@router.get("/v1/lora/export", response_model=None, responses={200: {"content": {"application/zip": {}}}})
async def export(lora_id: LoraId, served: Served, version: Count | None = None) -> Response:
    """A version, or the newest, as a zip of the files that PEFT loads."""
    lora_id = await own_id(served.engine, lora_id)
    weights = await served.engine.resolve(lora_id, version)
    archive = await asyncio.to_thread(_zip, await served.engine.export_adapter(lora_id, weights.version))
    name = f"{served_name(lora_id)}-v{weights.version}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "ETag": f'"{weights.digest}"'}
    return StreamingResponse(_chunks_of(archive), media_type="application/zip", headers=headers)


async def _chunks_of(archive: SpooledTemporaryFile[bytes]) -> AsyncIterator[bytes]:
    """The bytes of `archive`, which is closed once they are read or the client is gone."""
    with archive:
        while chunk := await asyncio.to_thread(archive.read, _CHUNK_BYTES):
            yield chunk


_IN_MEMORY_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024


def _zip(directory: Path) -> SpooledTemporaryFile[bytes]:
    """The adapter in `directory` as a zip in a temporary file, read from its beginning; closing it removes it.

    Whatever else an engine keeps beside the two files that PEFT loads is not exported.
    """
    archive: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 (the reader closes it)
    try:
        with ZipFile(archive, "w", ZIP_STORED) as file:  # weights do not compress
            for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                file.write(directory / name, name)
    except FileNotFoundError as error:
        archive.close()
        raise NotFound("the adapter was deleted while it was being exported") from error
    except OSError as error:
        archive.close()
        raise StackError(f"cannot export the adapter: {error.strerror or error}") from error
    archive.seek(0)
    return archive


def _version(lora_id: str, weights: Weights) -> LoraVersion:
    return LoraVersion(lora_id=lora_id, version=weights.version, digest=weights.digest, model=weights.name)


AliasName = Annotated[str, PathParameter(), AfterValidator(alias_name)]


@router.put("/v1/aliases/{name}", response_model=Alias)
async def put_alias(name: AliasName, request: AliasRequest, served: Served) -> Response:
    """Point a name to an adapter, one of its versions, or the base model."""
    weights = await served.models.set_alias(name, request.target)
    return reply(Alias(alias=name, target=request.target, model=weights.name, digest=weights.digest))


@router.get("/v1/aliases/{name}", response_model=Alias)
async def read_alias(name: AliasName, served: Served) -> Response:
    """What an alias currently points to."""
    target, weights = await served.models.alias(name)
    return reply(Alias(alias=name, target=target, model=weights.name, digest=weights.digest))


@router.delete("/v1/aliases/{name}", response_model=AliasDeleted)
async def delete_alias(name: AliasName, served: Served) -> Response:
    """Remove an alias; removing it again is no error."""
    return reply(AliasDeleted(deleted=await served.models.remove_alias(name)))


Key = Annotated[str | None, Header(alias=IDEMPOTENCY_HEADER, min_length=1, max_length=255)]


@router.post("/v1/feedback", response_model=FeedbackResponse)
async def feedback(request: FeedbackRequest, served: Served, http: Request, key: Key = None) -> Response:
    """Make one update from a person's feedback on recorded answers."""
    if (given := len(http.headers.getlist(IDEMPOTENCY_HEADER))) > 1:
        raise InvalidInput(f"{IDEMPOTENCY_HEADER}: a request has one key, got {given}")
    return reply(await served.feedback.give(request, key))


@router.post("/v1/rollouts/resolve", response_model=Rollout)
async def resolve(request: ResolveRequest, served: Served) -> Response:
    """The latest recorded answer with this visible text, filtered by prompt and weights if they are given."""
    rollout = await served.rollouts.that_showed(request.text, request.prompt, request.model)
    if rollout is not None:
        return reply(rollout)
    other = await served.rollouts.that_showed(request.text)
    if other is None:
        raise NotFound("no recorded answer showed this text")
    raise NotFound(
        f"this text was not shown {_asked(request)}, but by {other.model} to {quoted(last_user_text(other.messages))}"
    )


def _asked(request: ResolveRequest) -> str:
    parts = ["" if request.prompt is None else "to this prompt", "" if request.model is None else f"by {request.model}"]
    return " and ".join(filter(None, parts))
