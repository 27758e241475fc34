"""A Tinker service of its own wire on loopback, for the real SDK to talk to: scripted answers, and faults on demand."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response

from claas.api.server import listening
from tests.fakes.tinker_wire import EXTERNAL, from_proto, losses_to_proto, sample_to_proto

PROTOBUF = "application/x-protobuf"


def adapter_files() -> dict[str, bytes]:
    """An adapter whose configuration does not name its modules."""
    names = [
        f"base_model.model.layers.0.{part}.lora_{matrix}.weight" for part in ("q_proj", "mlp.up") for matrix in "AB"
    ]
    header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}).encode()
    weights = len(header).to_bytes(8, "little") + header
    return {"adapter_config.json": b'{"r": 8, "target_modules": null}', "adapter_model.safetensors": weights}


@dataclass
class FakeTinker:
    """What the service knows and was asked. A token's logprob depends on what came before and on how often the weights
    were trained; `answer` is what every sample says.

    `statuses` are the HTTP statuses that paths answer with, `broken` what results say instead of a result, `hanging`
    whether results never come, `delay_s` how long each takes, and `spans` when which was waited for.
    """

    models: list[str]
    window: int | None = 2048
    answer: list[int] = field(default_factory=list[int])
    top_logprobs: bool = False
    url: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    runs: dict[str, int] = field(default_factory=dict[str, int])
    checkpoints: dict[str, int] = field(default_factory=dict[str, int])
    samplers: dict[str, str | None] = field(default_factory=dict[str, str | None])
    results: dict[str, Any] = field(default_factory=dict[str, Any])
    exported: dict[str, bytes] = field(default_factory=adapter_files)
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    broken: str | None = None
    hanging: bool = False
    delay_s: float = 0.0
    spans: list[tuple[str, float, float]] = field(default_factory=list[tuple[str, float, float]])
    in_flight: int = 0
    most_in_flight: int = 0

    def paths(self) -> list[str]:
        """What was asked, in order, without what keeps a session alive."""
        quiet = {"session_heartbeat", "retrieve_future", "telemetry", "config", "dynamic_config"}
        return [path for path, _ in self.asked if path not in quiet]

    def bodies(self, path: str) -> list[Any]:
        """What was asked of one path."""
        return [body for asked, body in self.asked if asked == path]

    def promise(self, result: Any) -> dict[str, Any]:
        """A result that can be retrieved."""
        request_id = str(len(self.results))
        self.results[request_id] = result
        return {"request_id": request_id, "future_id": request_id, "status": "pending"}


def logprobs(tokens: list[int], trained: int) -> list[float]:
    """The logprob of every token but the first."""
    return [
        -1.0 - ((tokens[i] * 31 + tokens[i - 1] * 17 + sum(tokens[:i]) + trained * 7) % 50) / 100
        for i in range(1, len(tokens))
    ]


def kind_of(result: Any) -> str:
    """What was asked for, by its result."""
    if "sequences" in result:
        return "sample" if result["prompt_logprobs"] is None else "score"
    if "loss_fn_outputs" in result:
        return "forward_backward"
    return "optim_step" if "metrics" in result else result["type"]


@contextmanager
def tinker_service(fake: FakeTinker) -> Iterator[FakeTinker]:
    """`fake` on a free port of loopback."""
    listener = listening("127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app_of(fake), log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def app_of(fake: FakeTinker) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def heard(request: Request, call_next: Any) -> Any:
        name = request.url.path.removeprefix("/api/v1/").partition("/")[0]
        name = request.url.path.rpartition("/")[2] if name == "client" else name
        raw = await request.body()
        training = request.headers.get("content-type") == PROTOBUF
        body = from_proto(raw)[0] if training else json.loads(raw or b"null")
        fake.asked.append((name if request.method != "DELETE" else f"DELETE {request.url.path}", body))
        if (status := fake.statuses.get(name, fake.statuses.get("*"))) is not None:
            detail = f"scripted for {request.headers.get('x-api-key')}"  # as careless as a service can be
            return Response(json.dumps({"detail": detail}), status, media_type="application/json")
        return await call_next(request)

    def weights(model: str) -> int:
        return fake.runs[model]

    @app.post("/api/v1/client/config")
    async def config() -> Any:
        return {"pjwt_auth_enabled": False}

    @app.get("/api/v1/get_server_capabilities")
    async def capabilities() -> Any:
        rows = [
            {"model_name": name, "max_context_length": fake.window, "trainable": True, "sampleable": True}
            for name in fake.models
        ]
        return {"supported_models": rows}

    @app.post("/api/v1/create_session")
    async def create_session() -> Any:
        return {"session_id": f"session-{len(fake.bodies('create_session'))}"}

    @app.post("/api/v1/session_heartbeat")
    async def heartbeat() -> Any:
        return {}

    @app.post("/api/v1/create_sampling_session")
    async def create_sampling_session(request: Request) -> Any:
        path = (await request.json()).get("model_path")
        if path is not None and path not in fake.checkpoints:
            raise HTTPException(404, f"no checkpoint {path}")
        name = f"sampler-{len(fake.samplers)}"
        fake.samplers[name] = path
        return {"sampling_session_id": name}

    @app.get("/api/v1/samplers/{name}")
    async def sampler(name: str) -> Any:
        return {"sampler_id": name, "base_model": fake.models[0], "model_path": fake.samplers[name]}

    @app.post("/api/v1/asample")
    async def asample(request: Request) -> Any:
        body = await request.json()
        path = fake.samplers[body["sampling_session_id"]]
        trained = 0 if path is None else fake.checkpoints[path]
        prompt = [token for chunk in body["prompt"]["chunks"] for token in chunk["tokens"]]
        tokens = fake.answer[: body["sampling_params"]["max_tokens"]]
        scored = logprobs([*prompt, *tokens], trained)
        result = {
            "sequences": [
                {
                    "tokens": tokens,
                    "logprobs": scored[len(prompt) - 1 :],
                    "stop_reason": "stop" if tokens == fake.answer else "length",
                }
            ],
            "prompt_logprobs": scored[: len(prompt) - 1] if body.get("prompt_logprobs") else None,
            "top": [body.get("topk_prompt_logprobs", 0), body.get("topk_sample_logprobs", 0)],
        }
        promised = fake.promise(result)
        return promised | {"sample_sequence_ids": [f"{promised['request_id']}-0"]}

    @app.post("/api/v1/create_model")
    async def create_model(request: Request) -> Any:
        body = await request.json()
        name = f"{body['session_id']}:train:{body['model_seq_id']}"
        fake.runs[name] = 0
        return fake.promise({"model_id": name, "type": "create_model"})

    @app.post("/api/v1/get_info")
    async def get_info(request: Request) -> Any:
        name = (await request.json())["model_id"]
        return {"model_id": name, "model_data": {"model_name": fake.models[0]}}

    @app.post("/api/v1/weights_info")
    async def weights_info(request: Request) -> Any:
        path = (await request.json())["tinker_path"]
        if path not in fake.checkpoints:
            raise HTTPException(404, f"no checkpoint {path}")
        return {"base_model": fake.models[1 if "other" in path else 0], "is_lora": True, "lora_rank": 16}

    @app.post("/api/v1/load_weights")
    async def load_weights(request: Request) -> Any:
        body = await request.json()
        if body["path"] not in fake.checkpoints:
            raise HTTPException(404, f"no checkpoint {body['path']}")
        fake.runs[f"{body['session_id']}:train:{body['model_seq_id']}"] = fake.checkpoints[body["path"]]
        return fake.promise({"type": "load_weights"})

    @app.post("/api/v1/forward_backward")
    async def forward_backward(request: Request) -> Any:
        body, _ = from_proto(await request.body())
        outputs: list[dict[str, Any]] = []
        for one in body["forward_backward_input"]["data"]:
            inputs = [token for chunk in one["model_input"]["chunks"] for token in chunk["tokens"]]
            told = logprobs([*inputs, one["loss_fn_inputs"]["target_tokens"]["data"][-1]], weights(body["model_id"]))
            given = one["loss_fn_inputs"]
            losses = [-value for value in (given.get("advantages") or given["weights"])["data"]]
            outputs.append({"logprobs": {"data": told}, "elementwise_loss": {"data": losses}})
        return fake.promise({"loss_fn_outputs": outputs})

    @app.post("/api/v1/optim_step")
    async def optim_step(request: Request) -> Any:
        fake.runs[(await request.json())["model_id"]] += 1
        return fake.promise({"metrics": {"grad_norm": 6.0}})

    def saved(path: str, kind: str, type_: str) -> None:
        @app.post(path)
        async def save(request: Request) -> Any:
            body = await request.json()
            where = f"tinker://{body['model_id']}/{kind}/{body['path']}"
            fake.checkpoints[where] = weights(body["model_id"])
            return fake.promise({"path": where, "type": type_})

    saved("/api/v1/save_weights", "weights", "save_weights")
    saved("/api/v1/save_weights_for_sampler", "sampler_weights", "save_weights_for_sampler")
    saved("/api/v1/save_weights_external", EXTERNAL, "save_weights_external")

    @app.get("/api/v1/training_runs/{run}/checkpoints/external_weights/{name}/external_weights_urls")
    async def urls(run: str, name: str) -> Any:
        names = ["adapter_config.json", "adapter_model.safetensors", "README.md"]
        there = {file: f"{fake.url}/external/{file}" for file in names}
        return {"urls": there, "expires": "2030-01-01T00:00:00Z"}

    @app.get("/external/{file}")
    async def external(file: str) -> Response:
        return Response(fake.exported.get(file, b"read me"))

    @app.delete("/api/v1/training_runs/{run}/checkpoints/{kind}/{name}")
    async def delete(run: str, kind: str, name: str) -> Response:
        if fake.checkpoints.pop(f"tinker://{run}/{kind}/{name}", None) is None:
            raise HTTPException(404, "no such checkpoint")
        return Response(status_code=204)

    @app.post("/api/v1/sessions/{session}/finish")
    async def finish(session: str) -> Response:
        return Response(status_code=204)

    @app.post("/api/v1/retrieve_future")
    async def retrieve(request: Request) -> Any:
        request_id = (await request.json())["request_id"]
        fake.in_flight += 1
        fake.most_in_flight = max(fake.most_in_flight, fake.in_flight)
        begun = time.monotonic()
        await asyncio.sleep(0.2 if fake.hanging else fake.delay_s)
        fake.in_flight -= 1
        fake.spans.append((kind_of(fake.results[request_id]), begun, time.monotonic()))
        if fake.hanging:
            return {"type": "try_again", "request_id": request_id, "queue_state": "active"}
        if fake.broken is not None:
            return {"error": fake.broken, "category": "server"}
        result = fake.results[request_id]
        if "sequences" in result:
            return Response(sample_to_proto(result, with_top=fake.top_logprobs), media_type=PROTOBUF)
        if "loss_fn_outputs" in result:
            return Response(losses_to_proto(result), media_type=PROTOBUF)
        return result

    return app
