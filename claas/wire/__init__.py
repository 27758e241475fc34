"""The HTTP contract as pydantic models, shared by server, harness and plug-ins; and how each of them behaves."""

from typing import Annotated, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from claas.core.errors import InvalidInput

Int64: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""An integer that other programs can read: an integer of Python has no bound, and one of 4301 digits no reader."""

Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
"""How many there are of something, or which of them."""


_MOST_FIELDS = 1000


class Body(BaseModel):
    """A body of our own endpoints: an unknown field is an error, and so is a text or a truth value for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RequestBody(Body):
    """A body that clients send. Each unknown field is an error to be told; of thousands, their number is."""

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
    """A body that OpenAI clients send: fields that are not known are kept, for whoever answers to judge."""

    @model_validator(mode="before")
    @classmethod
    def _null_means_not_given(cls, body: object) -> object:
        """OpenAI's fields are nullable, and some clients send every field they know."""
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in cast(dict[str, object], body).items() if value is not None}
