"""Records of feedback: the use of each idempotency key, and a log of every batch."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from claas.api.journal import Journal
from claas.core.errors import ClaasError, StackError
from claas.core.files import write_atomically
from claas.wire import Body
from claas.wire.feedback import FeedbackLogEntry, FeedbackResponse

_CAPACITY = 20_000
"""Lines kept; a key takes two. An engine knows the keys of its updates for good, so an older one is still replayed."""


class KeyUse(Body):
    """An idempotency key, a digest of the feedback it was used for, and the response, None until the update is made."""

    key: str
    fingerprint: str
    response: FeedbackResponse | None = None


class UsedKeys:
    """The newest uses of idempotency keys, by key; they survive a crash of the machine."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path, _CAPACITY, lambda line: (KeyUse.model_validate_json(line).key,))

    async def find(self, key: str) -> KeyUse | None:
        """The record last written under this key."""
        line = await self._journal.find(key)
        return None if line is None else KeyUse.model_validate_json(line)

    async def write(self, used: KeyUse) -> None:
        """Put `used` in place of what stood under its key."""
        await self._journal.append(used.model_dump_json().encode())

    def close(self) -> None:
        """Let go of the file; every line is in it already."""
        self._journal.close()


class FeedbackLog:
    """A directory of log files whose names sort by time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path_of(self, request_id: str) -> Path:
        """The log file of a batch that is answered now."""
        return self.directory / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{request_id}.json"

    async def write(self, path: Path, entry: FeedbackLogEntry) -> None:
        """Write one file, atomically."""
        await asyncio.to_thread(write_atomically, path, entry.model_dump_json(indent=2) + "\n")


class FailureLogged:
    """`async with`: if the block fails, `entry` is logged with the error, which then propagates.

    If it cannot be logged, it still propagates, with a note that says so.
    """

    def __init__(self, log: FeedbackLog, path: Path, entry: FeedbackLogEntry) -> None:
        self._log = log
        self._path = path
        self._entry = entry

    async def __aenter__(self) -> None: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            message = str(error) if isinstance(error, ClaasError) else f"internal error: {type(error).__name__}"
            try:
                await self._log.write(self._path, self._entry.model_copy(update={"errors": [message]}))
            except StackError as unlogged:
                error.add_note(str(unlogged))
