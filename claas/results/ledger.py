"""The ledger of a preference's updates: an intent on the disk before each, a receipt after it, and nothing twice."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, RootModel, ValidationError

from claas.core.errors import InvalidInput
from claas.core.files import append_line, read_lines
from claas.results.records import SCHEMA_VERSION, AdapterRecord, Record, Transcript


class Intent(Record):
    """An update about to be asked for, with the whole batch, so that it can be sent again as it was.

    `adapter` is the version that was sampled from. `sampling` holds every answer asked for, the lost ones too;
    `prompts`, `responses` and `rollout_ids` are of those that came, in order.
    """

    kind: Literal["intent"] = "intent"
    schema_version: int = SCHEMA_VERSION
    step: int
    key: str
    timestamp: str
    adapter: AdapterRecord
    feedback: str
    prompts: list[str]
    responses: list[str]
    rollout_ids: list[str]
    sampling: list[Transcript]
    sample_s: float


class Paid(Record):
    """The receipt of an update: the version it made, and what the algorithm reported."""

    kind: Literal["receipt"] = "receipt"
    schema_version: int = SCHEMA_VERSION
    step: int
    key: str
    timestamp: str
    adapter: AdapterRecord
    sdpo_metrics: dict[str, float]
    stack_ms: dict[str, float]
    update_s: float


class _Line(RootModel[Annotated[Intent | Paid, Field(discriminator="kind")]]):
    """One line of the file."""


class Ledger:
    """The updates of one preference: intent, receipt, intent, receipt; only the last intent may still be open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._intents: list[Intent] = []
        self._receipts: list[Paid] = []
        for number, line in enumerate(read_lines(path), start=1):
            entry = _parsed(path, number, line)
            self._require_due(entry, f"{path} is damaged at line {number}")
            self._add(entry)

    @property
    def updates(self) -> int:
        """How many updates have their receipt: the version of the adapter that the ledger knows."""
        return len(self._receipts)

    @property
    def open_intent(self) -> Intent | None:
        """The update that was asked for, or was about to be, and has no receipt yet."""
        return self._intents[-1] if len(self._intents) > len(self._receipts) else None

    def update(self, step: int) -> tuple[Intent, Paid]:
        """The finished update of a step."""
        return self._intents[step], self._receipts[step]

    def write(self, entry: Intent | Paid) -> None:
        """Enter a line; it is on the disk when this returns."""
        self._require_due(entry, f"{self._path} cannot take this line")
        append_line(self._path, entry.model_dump_json())
        self._add(entry)

    def _require_due(self, entry: Intent | Paid, otherwise: str) -> None:
        """An intent for the next step when none is open; the receipt of the open one."""
        due = self.open_intent
        if isinstance(entry, Intent):
            fits = due is None and entry.step == self.updates
        else:
            fits = due is not None and (entry.step, entry.key) == (due.step, due.key)
        if not fits:
            raise InvalidInput(f"{otherwise}: {entry.kind} of step {entry.step} after {self.updates} updates")

    def _add(self, entry: Intent | Paid) -> None:
        if isinstance(entry, Intent):
            self._intents.append(entry)
        else:
            self._receipts.append(entry)


def _parsed(path: Path, number: int, line: str) -> Intent | Paid:
    try:
        return _Line.model_validate_json(line).root
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise InvalidInput(f"{path} is damaged at line {number}: {reason}") from None
