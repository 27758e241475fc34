"""The HTTP contract as pydantic models, shared by server, harness and plug-ins; and how each of them behaves."""

from typing import cast

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A body of our own endpoints: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenAIBody(BaseModel):
    """A body that OpenAI clients send or read: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def without_nulls(body: object) -> object:
    """A body without its null fields: OpenAI's are nullable, and some clients send every field they know."""
    if not isinstance(body, dict):
        return body
    return {name: value for name, value in cast(dict[str, object], body).items() if value is not None}
