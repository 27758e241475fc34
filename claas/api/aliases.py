"""The aliases that were set, kept in one small file that a crash leaves whole."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from claas.core.errors import StackError
from claas.core.files import dump_json, write_atomically

_FILE = TypeAdapter(dict[str, str])


class Aliases:
    """Alias → target, as clients wrote them. What is set is on disk before `put` and `remove` return."""

    def __init__(self, path: Path) -> None:
        """Read `path` if it is there; `StackError` where it is not what this class wrote."""
        self._path = path
        self._targets: Mapping[str, str] = _read(path)

    def __contains__(self, name: str) -> bool:
        return name in self._targets

    def names(self) -> list[str]:
        """Every alias, sorted."""
        return sorted(self._targets)

    def target(self, name: str) -> str | None:
        """What `name` was set to; None when it is no alias."""
        return self._targets.get(name)

    async def put(self, name: str, target: str) -> None:
        """Let `name` mean `target` from now on. One writer at a time."""
        await self._replace({**self._targets, name: target})

    async def remove(self, name: str) -> bool:
        """Forget `name`; False when it was no alias. One writer at a time."""
        if name not in self._targets:
            return False
        await self._replace({known: target for known, target in self._targets.items() if known != name})
        return True

    async def _replace(self, targets: dict[str, str]) -> None:
        if targets != self._targets:
            await asyncio.to_thread(write_atomically, self._path, dump_json(targets, indent=2) + "\n")
        self._targets = targets


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        return _FILE.validate_json(path.read_bytes())
    except ValidationError as error:
        raise StackError(f"{path} is not a list of aliases; restore it, or move it away to begin with none") from error
