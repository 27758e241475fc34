"""The aliases: names that clients chose for models, in a file that survives a restart."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from claas.core.checks import alias_name
from claas.core.errors import InvalidInput
from claas.core.files import dump_json, read_bytes, set_aside, write_atomically
from claas.core.text import quoted

_log = logging.getLogger(__name__)


class Aliases:
    """Alias → target, as clients wrote them. Changes are on disk before `put` and `remove` return."""

    def __init__(self, path: Path) -> None:
        """Read `path` if it exists. A file that this class did not write is moved aside, and a warning logged."""
        self._path = path
        self._targets: Mapping[str, str] = _read(path)

    def __contains__(self, name: str) -> bool:
        return name in self._targets

    def names(self) -> list[str]:
        """Every alias, sorted."""
        return sorted(self._targets)

    def target(self, name: str) -> str | None:
        """What `name` points to; None if it is not an alias."""
        return self._targets.get(name)

    async def put(self, name: str, target: str) -> None:
        """Point `name` to `target`. One writer at a time."""
        await self._replace({**self._targets, name: target})

    async def remove(self, name: str) -> bool:
        """Remove `name`; False if it was not an alias. One writer at a time."""
        if name not in self._targets:
            return False
        await self._replace({alias: target for alias, target in self._targets.items() if alias != name})
        return True

    async def _replace(self, targets: dict[str, str]) -> None:
        if targets != self._targets:
            await asyncio.to_thread(write_atomically, self._path, _written(targets))
        self._targets = targets


_FILE = TypeAdapter(dict[str, Any])


def _read(path: Path) -> dict[str, str]:
    """The aliases on record, without malformed ones."""
    if not path.exists():
        return {}
    try:
        entries = _FILE.validate_json(read_bytes(path))
    except (OSError, ValidationError):
        _log.warning("%s is no list of aliases and was moved to %s; there are none now", path, set_aside(path))
        return {}
    aliases = {name: target for name, target in entries.items() if _is_alias(name, target)}
    if bad := sorted(entries.keys() - aliases.keys()):
        aside = set_aside(path)
        write_atomically(path, _written(aliases))
        _log.warning("%s: no aliases are %s; the file as it was is now %s", path, quoted(", ".join(bad), 300), aside)
    return aliases


def _is_alias(name: str, target: object) -> bool:
    try:
        return alias_name(name) == name and isinstance(target, str) and target != ""
    except InvalidInput:
        return False


def _written(aliases: Mapping[str, str]) -> str:
    return dump_json(aliases, indent=2) + "\n"
