"""How every body on the wire behaves: immutable, and closed against unknown fields."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A body of our own endpoints: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenAIBody(BaseModel):
    """A body that OpenAI clients send or read: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)
