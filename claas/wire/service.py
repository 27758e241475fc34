"""`GET /`, `/v1/health`, `/v1/models` and the shape of errors."""

from typing import Literal

from pydantic import Field

from claas.wire.base import Body, OpenAIBody

SERVICE_NAME = "claas"
"""How an API of ours introduces itself at `/`, so that a harness knows what it talks to."""


class ServiceInfo(OpenAIBody):
    """Who answers at `/`."""

    name: str
    version: str
    mode: str
    base_model: str


class HealthResponse(OpenAIBody):
    """Whether the engine can serve."""

    status: Literal["ok", "unavailable"]
    base_model: str
    detail: dict[str, str | int | float | bool] = Field(default_factory=dict[str, str | int | float | bool])


class ModelCard(OpenAIBody):
    """One name that chat requests may use."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = SERVICE_NAME


class ModelList(OpenAIBody):
    """Base model, adapters, and aliases that mean something."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorDetail(OpenAIBody):
    """OpenAI's error shape; `param` names the offending field where there is one."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Body):
    """Every error response."""

    error: ErrorDetail
