"""A Tinker service on this machine: SkyRL's API and engine, spoken to as the newest `tinker` SDK speaks.

Run by the interpreter that has `skyrl[tinker,jax]` installed: python -m tests.live.skyrl_server api|engine [options].

What SkyRL 0.3.0 lacks is added in front of its routes, written from the SDK's own protobuf module and conversion code:
protobuf bodies and results, training clients made from a checkpoint, failed requests as results, prompt logprobs with
one entry per token, external weights and deletion. Its losses are divided by the number of tokens and averaged over the
data; here they are sums, as the hosted service has them. SkyRL's own arithmetic is not touched.
"""

import asyncio
import json
import shutil
import sys
import tarfile
import typing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typing_extensions

from tests.fakes.tinker_wire import EXTERNAL, from_proto, losses_to_proto, sample_to_proto

typing.TypedDict = typing_extensions.TypedDict  # pydantic refuses the one of Python 3.11, which skyrl uses


def main() -> None:
    role = sys.argv.pop(1)
    if role == "engine":
        run_engine()
    else:
        run_api()


def run_engine() -> None:
    import jax
    import jax.numpy as jnp
    import skyrl.backends.jax as backend
    import skyrl.tinker.engine as engine

    def summed(self: Any, adapter_index: Any) -> Any:
        """The accumulated gradient of one adapter, not divided by the number of data."""

        def of(path: Any, gradient: Any) -> Any:
            index = backend.get_adapter_idx(path, adapter_index)
            return jnp.zeros_like(gradient).at[index].set(gradient[index])

        return jax.tree.map_with_path(of, self.grad_sum)

    backend.AccumulatedGradients.get_mean = summed
    engine.main()


def run_api() -> None:
    import argparse

    import skyrl.tinker.api as api
    import uvicorn
    from skyrl.tinker.config import EngineConfig, add_model, config_to_argv

    api._build_uv_run_cmd_engine = lambda _, config: [
        *(sys.executable, "-m", "tests.live.skyrl_server", "engine"),
        *config_to_argv(config),
    ]
    parser = argparse.ArgumentParser()
    add_model(parser, EngineConfig)
    parser.add_argument("--port", type=int, required=True)
    given = vars(parser.parse_args())
    api.app.state.engine_config = EngineConfig.model_validate(
        {name: value for name, value in given.items() if name in EngineConfig.model_fields}
    )
    name = given["base_model"]
    front = routes(name, json.loads(Path(name, "config.json").read_text())["max_position_embeddings"])
    api.app.router.routes[:0] = front.routes
    uvicorn.run(api.app, host="127.0.0.1", port=given["port"], log_level="warning")


def routes(base_model: str, window: int) -> Any:
    """The routes that stand in front of SkyRL's."""
    import skyrl.tinker.api as api
    from fastapi import APIRouter, HTTPException, Request, Response
    from skyrl.tinker import types
    from skyrl.tinker.db_models import CheckpointDB
    from sqlmodel.ext.asyncio.session import AsyncSession

    router = APIRouter()
    aliases: dict[str, str] = {}  # the SDK's name of a training client made from a checkpoint: SkyRL's
    external: dict[int, str] = {}  # future: the name that weights are exported under

    def database(request: Request) -> AsyncSession:
        return AsyncSession(request.app.state.db_engine)

    async def body_of(request: Request) -> dict[str, Any]:
        body = json.loads(await request.body())
        if "model_id" in body:
            body["model_id"] = aliases.get(body["model_id"], body["model_id"])
        return body

    @router.post("/api/v1/forward_backward")
    async def forward_backward(request: Request) -> Any:
        parsed, forward_only = from_proto(await request.body())
        parsed["model_id"] = aliases.get(parsed["model_id"], parsed["model_id"])
        as_sums(parsed["forward_backward_input"]["data"])
        async with database(request) as session:
            if forward_only:
                parsed["forward_input"] = parsed.pop("forward_backward_input")
                return await api.forward(api.ForwardRequest.model_validate(parsed), session)
            return await api.forward_backward(api.ForwardBackwardRequest.model_validate(parsed), session)

    @router.post("/api/v1/asample")
    async def asample(request: Request) -> Any:
        asked = api.SampleRequest.model_validate(await body_of(request))
        async with database(request) as session:
            future = await api.asample(asked, request, session)
        ids = [f"{future.request_id}-{index}" for index in range(asked.num_samples)]
        return future.model_dump() | {"sample_sequence_ids": ids}

    @router.post("/api/v1/load_weights")
    async def load_weights(request: Request) -> Any:
        body = await body_of(request)
        if body.get("session_id") is None:
            async with database(request) as session:
                return await api.load_weights(api.LoadWeightsRequest.model_validate(body), request, session)
        source = types.TinkerPath.parse(body["path"])
        async with database(request) as session:
            checkpoint = None
            if source is not None:
                key = (source.primary_id, source.secondary_id, types.CheckpointType.TRAINING)
                checkpoint = await session.get(CheckpointDB, key)
            if source is None or checkpoint is None:
                raise HTTPException(404, f"no checkpoint {body['path']}")
            model = await api.get_model(session, source.primary_id)
            rank = types.LoraConfig.model_validate(model.lora_config).rank
            made = await api.create_model(
                api.CreateModelRequest(
                    session_id=body["session_id"],
                    base_model=model.base_model,
                    lora_config=api.LoRAConfig(rank=rank, seed=0),
                ),
                session,
            )
        aliases[f"{body['session_id']}:train:{body['model_seq_id']}"] = made.model_id
        async with database(request) as session:
            load = api.LoadWeightsRequest(model_id=made.model_id, path=body["path"])
            return await api.load_weights(load, request, session)

    def forward_to(path: str, model: Any, handler: Any) -> None:
        @router.post(path)
        async def forwarded(request: Request) -> Any:
            async with database(request) as session:
                return await handler(model.model_validate(await body_of(request)), session)

    forward_to("/api/v1/get_info", api.GetInfoRequest, api.get_model_info)
    forward_to("/api/v1/optim_step", api.OptimStepRequest, api.optim_step)
    forward_to("/api/v1/save_weights", api.SaveWeightsRequest, api.save_weights)
    forward_to("/api/v1/save_weights_for_sampler", api.SaveWeightsForSamplerRequest, api.save_weights_for_sampler)

    @router.post("/api/v1/save_weights_external")
    async def save_weights_external(request: Request) -> Any:
        body = await body_of(request)
        async with database(request) as session:
            asked = api.SaveWeightsForSamplerRequest(model_id=body["model_id"], path=body["path"])
            future = await api.save_weights_for_sampler(asked, session)
        external[int(future.request_id)] = f"tinker://{body['model_id']}/{EXTERNAL}/{body['path']}"
        return future

    @router.post("/api/v1/retrieve_future")
    async def retrieve_future(request: Request) -> Any:
        asked = api.RetrieveFutureRequest.model_validate(await body_of(request))
        try:
            result = await asyncio.wait_for(api.retrieve_future(asked, request), 30)
        except TimeoutError:
            return {"type": "try_again", "request_id": asked.request_id, "queue_state": "active"}
        except HTTPException as error:
            if error.status_code != 400:
                raise
            return {"error": error.detail, "category": "user"}
        if "sequences" in result:
            return Response(sample_to_proto(result), media_type="application/x-protobuf")
        if "loss_fn_outputs" in result:
            for output in result["loss_fn_outputs"]:  # those were divided by the number of tokens
                losses = output["elementwise_loss"]["data"]
                output["elementwise_loss"]["data"] = [loss / len(losses) for loss in losses]
            return Response(losses_to_proto(result), media_type="application/x-protobuf")
        if int(asked.request_id) in external:
            return {"path": external[int(asked.request_id)], "type": "save_weights_external"}
        if result.get("type") == "save_weights_for_sampler" and result.get("path"):
            run, name = result["path"].removeprefix("tinker://").split("/")
            return result | {"path": f"tinker://{run}/sampler_weights/{name}"}
        return result

    def archive(request: Request, run: str, name: str) -> Any:
        return request.app.state.engine_config.checkpoints_base / run / "sampler_weights" / f"{name}.tar.gz"

    @router.get("/api/v1/training_runs/{run}/checkpoints/external_weights/{name}/external_weights_urls")
    async def external_weights_urls(request: Request, run: str, name: str) -> Any:
        with tarfile.open(archive(request, run, name)) as files:
            names = [member.name.removeprefix("./") for member in files.getmembers() if member.isfile()]
        urls = {file: f"{request.base_url}external/{run}/{name}/{file}" for file in names}
        return {"urls": urls, "expires": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}

    @router.get("/external/{run}/{name}/{file}")
    async def external_file(request: Request, run: str, name: str, file: str) -> Any:
        with tarfile.open(archive(request, run, name)) as files:
            member = next(each for each in files.getmembers() if each.name.removeprefix("./") == file)
            content = files.extractfile(member)
            assert content is not None
            return Response(content.read(), media_type="application/octet-stream")

    @router.delete("/api/v1/training_runs/{run}/checkpoints/{kind}/{name}")
    async def delete_checkpoint(request: Request, run: str, kind: str, name: str) -> Response:
        training = kind == "weights"
        of_type = types.CheckpointType.TRAINING if training else types.CheckpointType.SAMPLER
        run = aliases.get(run, run)
        async with database(request) as session:
            row = await session.get(CheckpointDB, (run, name, of_type))
            if row is None:
                raise HTTPException(404, f"no checkpoint {run}/{kind}/{name}")
            await session.delete(row)
            await session.commit()
        base = request.app.state.engine_config.checkpoints_base / run
        doomed = base / f"{name}.tar.gz" if training else archive(request, run, name)
        if doomed.is_dir():
            shutil.rmtree(doomed)
        else:
            doomed.unlink(missing_ok=True)
        return Response(status_code=204)

    @router.post("/api/v1/sessions/{session_id}/finish")
    async def finish(session_id: str) -> Response:
        return Response(status_code=204)

    @router.get("/api/v1/get_server_capabilities")
    async def capabilities() -> Any:
        model = {"model_name": base_model, "max_context_length": window, "trainable": True, "sampleable": True}
        return {"supported_models": [model]}

    return router


def as_sums(data: list[dict[str, Any]]) -> None:
    """Undo beforehand that SkyRL divides the loss of a datum by the number of its tokens."""
    for inputs in (datum["loss_fn_inputs"] for datum in data):
        if "advantages" in inputs:
            length = len(inputs["target_tokens"]["data"])
            inputs["advantages"]["data"] = [value * length for value in inputs["advantages"]["data"]]


if __name__ == "__main__":
    main()
