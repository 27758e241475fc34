"""The feedback log: one JSON file per batch that reached the engine, whether it trained or failed."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from claas.core.errors import ClaasError, StackError
from claas.core.files import write_atomically
from claas.wire.feedback_log import FeedbackLogEntry


class FeedbackLog:
    """A directory of log files whose names sort by time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path_of(self, request_id: str) -> Path:
        """Where a batch that is answered now is logged."""
        return self.directory / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{request_id}.json"

    async def write(self, path: Path, entry: FeedbackLogEntry) -> None:
        """Write one file, whole or not at all."""
        await asyncio.to_thread(write_atomically, path, entry.model_dump_json(indent=2) + "\n")


class FailureLogged:
    """`async with`: when what happens inside fails, `entry` is logged with the error, which then goes on.

    It goes on even when it cannot be logged, with a note that says so.
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
            said = str(error) if isinstance(error, ClaasError) else f"internal error: {type(error).__name__}"
            try:
                await self._log.write(self._path, self._entry.model_copy(update={"errors": [said]}))
            except StackError as unlogged:
                error.add_note(str(unlogged))
