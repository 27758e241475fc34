"""Which ids a new adapter can have beside those there are."""

from collections.abc import Iterable

from claas.core.checks import adapter_id, served_name
from claas.core.errors import Conflict


def require_new(lora_id: str, known_ids: Iterable[str]) -> None:
    """Raise `Conflict` where `lora_id`, or another id with its served name, is known."""
    name = served_name(adapter_id(lora_id))
    for known in known_ids:
        if known == lora_id:
            raise Conflict(f"adapter {lora_id!r} exists already; delete it first or choose another id")
        if served_name(known) == name:
            raise Conflict(f"adapter {lora_id!r} would be served as {name!r}, which is adapter {known!r}")
