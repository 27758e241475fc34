"""`/v1/aliases/{name}`: a name of one's own for an adapter, one of its versions, or the base model."""

from pydantic import Field

from claas.wire.base import Body


class AliasRequest(Body):
    """What the alias is to mean: `eval-concise` (always the newest version), `eval-concise@7`, or the base model."""

    target: str = Field(min_length=1)


class Alias(Body):
    """An alias, what it was set to, and the `model` (`name@version`) and digest which that means now."""

    alias: str
    target: str
    model: str
    digest: str


class AliasDeleted(Body):
    """Whether there was something to delete."""

    deleted: bool
