"""`/v1/lora`: making, listing and deleting adapters."""

from pydantic import Field

from claas.wire.base import Body


class LoraInitRequest(Body):
    """A new adapter; `base_model` must be the one this API serves, None means that one.

    `lora_alpha` None means the engine's own, 64 where it can be chosen. `seed` decides its A.
    """

    lora_id: str
    base_model: str | None = None
    lora_r: int = Field(default=32, ge=4, le=128)
    lora_alpha: int | None = Field(default=None, ge=8, le=256)
    target_modules: list[str] | None = Field(default=None, min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63)


class LoraVersion(Body):
    """One version of one adapter; `model` is the name to chat with it."""

    lora_id: str
    version: int
    digest: str
    model: str


class LoraList(Body):
    """The newest version of each adapter."""

    loras: list[LoraVersion]


class LoraDeleted(Body):
    """Whether there was something to delete."""

    deleted: bool
