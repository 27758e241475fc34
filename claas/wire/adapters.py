"""Adapters, aliases and models by name, and the state of the service."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from claas.core.errors import InvalidInput
from claas.wire import Body, Count, OpenAIBody, RequestBody

SERVICE_NAME = "claas"
"""How this API identifies itself at `/`, so that the harness recognises it."""


class ServiceInfo(OpenAIBody):
    """The identity of the API at `/`, the source of its base model's weights, and where its endpoints are described.

    `uses_predictions`: an answer to a chat comes sooner where the request predicts it.
    """

    name: str
    version: str
    mode: str
    base_model: str
    base_source: str | None = None
    uses_predictions: bool = False
    description: str = "Continual learning as a service: chat, and feedback that changes the weights"
    docs: str = "/docs"


class WorkerHealth(OpenAIBody):
    """What `HealthResponse` says, as clients of kfallah/CLaaS read it."""

    status: Literal["healthy", "unhealthy"]
    error: str | None = None


class HealthResponse(OpenAIBody):
    """Whether the engine can serve."""

    status: Literal["ok", "unavailable"]
    base_model: str
    detail: dict[str, str | int | float | bool] = Field(default_factory=dict[str, str | int | float | bool])
    worker: WorkerHealth


class ModelCard(OpenAIBody):
    """One name that chat requests may use."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = SERVICE_NAME


class ModelList(OpenAIBody):
    """The base model, the adapters, and aliases that are not dangling."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorDetail(OpenAIBody):
    """OpenAI's error shape; `param` names the offending field where there is one."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Body):
    """Every error response. `detail` is the message again, where clients of kfallah/CLaaS look for it."""

    error: ErrorDetail
    detail: str = ""


class LoraInitRequest(RequestBody):
    """A new adapter; `base_model` must be the one this API serves, None means that one.

    `lora_alpha` None means the engine's own, 64 where it can be chosen. `seed` decides its A. `if_trained` says what
    happens where `lora_id` has learnt something: a new adapter is made under an id of its own, or none (409).
    """

    lora_id: str
    base_model: str | None = None
    lora_r: int = Field(default=32, ge=4, le=128)
    lora_alpha: int | None = Field(default=None, ge=8, le=256)
    target_modules: Annotated[list[str], Field(fail_fast=True)] | None = Field(
        default=None, min_length=1, max_length=10_000
    )
    seed: Count = 0
    if_trained: Literal["anew", "refuse"] = "anew"


class LoraImportRequest(RequestBody):
    """A new adapter with the weights of a plain LoRA in PEFT's format, or of a checkpoint at the engine's service.

    `config` is what its adapter_config.json holds, `weights` its adapter_model.safetensors in base64. `checkpoint`, in
    place of both: with mode=tinker, `tinker://<run>/weights/<name>`.
    """

    lora_id: str
    config: dict[str, JsonValue] | None = None
    weights: str | None = None
    checkpoint: str | None = None

    @model_validator(mode="after")
    def _from_one_place(self) -> "LoraImportRequest":
        given = (self.config is not None, self.weights is not None, self.checkpoint is not None)
        if given not in ((True, True, False), (False, False, True)):
            raise InvalidInput("give config and weights, or a checkpoint and neither")
        return self


class LoraVersion(Body):
    """One version of one adapter; `model` is the name to chat with it."""

    lora_id: str
    version: int
    digest: str
    model: str


class LoraList(Body):
    """The ids of adapters, and the newest version of each."""

    loras: list[str]
    adapters: list[LoraVersion]


class LoraDeleted(Body):
    """Whether there was something to delete."""

    deleted: bool


class AliasRequest(RequestBody):
    """The target of an alias: `eval-concise` (always the newest version), `eval-concise@7`, or the base model."""

    target: str = Field(min_length=1)


class Alias(Body):
    """An alias, its target, and the `model` (`name@version`) and digest that it currently resolves to."""

    alias: str
    target: str
    model: str
    digest: str


class AliasDeleted(Body):
    """Whether there was something to delete."""

    deleted: bool
