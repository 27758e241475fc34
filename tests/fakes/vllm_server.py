"""A peer on loopback that speaks as vLLM 0.32 does and computes with the real model: replies and errors as recorded."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from safetensors.torch import load_file

from claas.api.server import listening
from claas.engines.local.lora import LoraShape, load_adapter, wrap
from claas.engines.local.model import LoadedModel


@dataclass
class FakeVllm:
    """What it serves, and what it was asked. It answers every prompt with `answer`, whatever was to be sampled.

    `loads`: whether adapters can be loaded while it runs. `off_by` is added to every log probability (nats). `statuses`
    are those that paths answer with.
    """

    base: LoadedModel
    max_model_len: int = 2048
    max_lora_rank: int = 32
    loads: bool = True
    answer: list[int] = field(default_factory=lambda: [715, 322, 16])
    off_by: float = 0.0
    paused: bool = False
    url: str = ""
    adapters: dict[str, tuple[LoraShape, dict[str, torch.Tensor]]] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict[str, str])
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    _wrapped: dict[LoraShape, Any] = field(default_factory=dict[LoraShape, Any])
    _computing: Any = field(default_factory=threading.Lock)

    def load(self, name: str, path: Path) -> None:
        """Load an adapter as PEFT would."""
        config = json.loads((path / "adapter_config.json").read_bytes())
        if config["r"] > self.max_lora_rank:
            raise ValueError(f"LoRA rank {config['r']} is greater than max_lora_rank {self.max_lora_rank}.")
        shape = LoraShape(config["r"], config["lora_alpha"], tuple(config["target_modules"]))
        self.adapters[name] = (shape, load_file(path / "adapter_model.safetensors"))
        self.roots[name] = str(path)

    def logprobs(self, name: str, ids: list[int]) -> torch.Tensor:
        """Log probabilities of what follows each of `ids` (T, V)."""
        shape, tensors = self.adapters[name]
        with self._computing, torch.inference_mode():
            if shape not in self._wrapped:
                self._wrapped[shape] = wrap(self.base, shape)
            load_adapter(self._wrapped[shape], tensors)
            return self._wrapped[shape](input_ids=torch.tensor([ids])).logits[0].log_softmax(-1) + self.off_by

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """One choice, in the wire's own form."""
        prompt: list[int] = body["prompt"]
        ids = [*prompt, *self.answer[: body["max_tokens"]]]
        logprobs = self.logprobs(body["model"], ids)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length", "token_ids": ids[len(prompt) :]}
        if (top := body.get("logprobs")) is not None:
            rows = [self._row(logprobs[at - 1], ids[at], top) for at in range(len(prompt), len(ids))]
            choice["logprobs"] = {
                "token_logprobs": [next(iter(row.values())) for row in rows],
                "top_logprobs": [{f"token_id:{token}": logprob for token, logprob in row.items()} for row in rows],
            }
        if (top := body.get("prompt_logprobs")) is not None:
            rows = [self._row(logprobs[at - 1], ids[at], top) for at in range(1, len(prompt))]
            told = [{str(token): {"logprob": logprob} for token, logprob in row.items()} for row in rows]
            choice["prompt_logprobs"] = [None, *told]
        return choice

    def _row(self, logprobs: torch.Tensor, token: int, top: int) -> dict[int, float]:
        likeliest = logprobs.topk(top).indices.tolist()
        return {each: logprobs[each].item() for each in (token, *likeliest)}


def error(status: int, message: str) -> JSONResponse:
    """As vLLM says it."""
    return JSONResponse({"error": {"message": message, "code": status}}, status)


def _app(fake: FakeVllm) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def scripted(request: Request, call_next: Any) -> Response:
        path = request.url.path
        fake.asked.append((path, json.loads(await request.body() or b"null")))
        return error(fake.statuses[path], "scripted") if path in fake.statuses else await call_next(request)

    @app.get("/health")
    def health() -> Response:
        return Response()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        base = {"id": "claas-tiny", "root": "/models/claas-tiny", "parent": None, "max_model_len": fake.max_model_len}
        adapters = [{"id": name, "root": root, "parent": "claas-tiny"} for name, root in fake.roots.items()]
        return {"data": [base, *adapters]}

    @app.get("/server_info")
    def server_info() -> dict[str, Any]:
        return {"vllm_config": {"model_config": {"enable_sleep_mode": False}}}

    @app.post("/pause")
    def pause(mode: str) -> dict[str, str]:
        fake.paused = mode == "wait"
        return {"status": "paused"}

    @app.post("/resume")
    def resume() -> dict[str, str]:
        fake.paused = False
        return {"status": "resumed"}

    @app.post("/v1/completions")
    def completions(body: dict[str, Any]) -> Any:
        assert not fake.paused, "it would wait until it is resumed"
        if body["model"] not in fake.adapters:
            return error(404, f"The model `{body['model']}` does not exist.")
        if len(body["prompt"]) + body["max_tokens"] > fake.max_model_len:
            return error(400, "The decoder prompt is longer than the maximum model length.")
        return {"choices": [fake.complete(body)]}

    if fake.loads:

        @app.post("/v1/load_lora_adapter")
        def load(body: dict[str, str]) -> Any:
            if body["lora_name"] in fake.adapters:
                return error(400, "The lora adapter has already been loaded.")
            try:
                fake.load(body["lora_name"], Path(body["lora_path"]))
            except ValueError as refused:
                return error(
                    500, f"add_lora failed: Worker failed with error '{refused}', please check the stack trace"
                )
            return PlainTextResponse("Success")

        @app.post("/v1/unload_lora_adapter")
        def unload(body: dict[str, str]) -> Any:
            if fake.adapters.pop(body["lora_name"], None) is None:
                return error(404, "The lora adapter cannot be found.")
            del fake.roots[body["lora_name"]]
            return PlainTextResponse("Success")

    return app


@contextmanager
def vllm_server(fake: FakeVllm) -> Iterator[FakeVllm]:
    """It, on a free port of loopback."""
    listener = listening("127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(_app(fake), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join(30)
