"""The HTTP contract as pydantic models, shared by server, harness and plug-ins; and how each of them behaves."""

from typing import Annotated, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from claas.core.errors import InvalidInput

Int64: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A 64-bit integer, which other programs can read; Python's own integers have no bound."""

Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
"""A count or an index."""


_MOST_FIELDS = 1000


class Body(BaseModel):
    """A body of our own endpoints: unknown fields are errors, and so are strings or booleans in place of numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RequestBody(Body):
    """A body that clients send. Unknown fields are reported one by one, but thousands of them only as a number."""

    @model_validator(mode="before")
    @classmethod
    def _no_flood_of_fields(cls, body: object) -> object:
        if isinstance(body, dict):
            inside = cast(dict[str, object], body)
            objects = [cast(dict[str, object], each) for each in (inside, *inside.values()) if isinstance(each, dict)]
            most = max(map(len, objects))
            if most > _MOST_FIELDS:
                raise InvalidInput(f"an object must have at most {_MOST_FIELDS} fields, got {most}")
        return cast(object, body)


class OpenAIBody(BaseModel):
    """A body that OpenAI clients send or read: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class OpenAIRequest(OpenAIBody, strict=True, extra="allow"):
    """A body that OpenAI clients send: unknown fields are kept, so that the endpoint can decide about them."""

    @model_validator(mode="before")
    @classmethod
    def _null_means_not_given(cls, body: object) -> object:
        """OpenAI's fields are nullable, and some clients send every field they know."""
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in cast(dict[str, object], body).items() if value is not None}
