"""One page of the feedback log: its newest files first, of which only the page's own are read, one at a time."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from claas.core.checks import first_problem
from claas.core.errors import NotFound, StackError
from claas.core.files import read_bytes
from claas.dashboard.pages import render
from claas.wire.feedback import FeedbackLogEntry


@dataclass(frozen=True)
class Unreadable:
    """A file of the log that holds no batch of this version, and why."""

    file: str
    reason: str


class ForeignItem(BaseModel):
    """What was said of one answer."""

    prompt: str
    response: str
    feedback: str


class ForeignResult(BaseModel):
    """What the update reported, of which the numbers are shown."""

    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])


class ForeignBatch(BaseModel):
    """A batch in the log of kfallah/CLaaS, which is shown and used for nothing else."""

    request_id: str
    timestamp_utc: str
    status: str
    lora_id: str
    requests: list[ForeignItem]
    distill_result: ForeignResult | None = None
    error: str | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that the update reported."""
        reported = self.distill_result.metadata if self.distill_result else {}
        return {name: float(value) for name, value in reported.items() if isinstance(value, int | float)}


@dataclass(frozen=True)
class BatchPage:
    """Page `page` of `pages`, counted from 1; `total` is the number of batches in the log."""

    directory: Path
    page: int
    per_page: int
    total: int
    names: tuple[str, ...]

    @property
    def pages(self) -> int:
        """At least 1: an empty log has one empty page."""
        return max(1, -(-self.total // self.per_page))

    @property
    def batches(self) -> Iterator[FeedbackLogEntry | ForeignBatch | Unreadable]:
        """What the page's files hold, each read when it is asked for."""
        return (_read(self.directory / name) for name in self.names)


def batch_page(directory: Path, page: int, per_page: int) -> BatchPage:
    """A page of the log in `directory`, newest batch first; `NotFound` beyond the last page."""
    names = sorted(_names(directory), reverse=True)
    shown = BatchPage(directory, page, per_page, len(names), tuple(names[(page - 1) * per_page :][:per_page]))
    if page > shown.pages:
        raise NotFound(f"page={page} is beyond the last page of the feedback log, which is page={shown.pages}")
    return shown


def _names(directory: Path) -> list[str]:
    """The log's files, whose names begin with their time; files still being written are hidden ones."""
    try:
        return [name for name in os.listdir(directory) if name.endswith(".json") and not name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StackError(f"cannot read the feedback log {directory}: {error.strerror or error}") from error


def _read(path: Path) -> FeedbackLogEntry | ForeignBatch | Unreadable:
    name = path.name.encode(errors="replace").decode()
    try:
        content = read_bytes(path)
    except OSError as error:
        return Unreadable(name, error.strerror or str(error))
    try:
        return FeedbackLogEntry.model_validate_json(content)
    except ValidationError as error:
        problem = first_problem(error)
    if b'"timestamp_utc"' not in content:  # which only that other project's log has
        return Unreadable(name, problem)
    try:
        return ForeignBatch.model_validate_json(content)
    except ValidationError as error:
        return Unreadable(name, f"a batch of kfallah/CLaaS that cannot be read: {first_problem(error)}")


def feedback_page(directory: Path, page: int, per_page: int) -> str:
    """HTML of one page of the log in `directory`; `NotFound` beyond the last."""
    batches = batch_page(directory, page, per_page)
    first = (page - 1) * per_page + 1
    return render("feedback.html", log=batches, first=first)
