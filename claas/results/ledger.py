"""The ledger of a preference's updates: an intent on the disk before each, a receipt after it, and nothing twice."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, RootModel, ValidationError

from claas.core.errors import InvalidInput
from claas.core.files import append_line, read_lines
from claas.results.records import SCHEMA_VERSION, AdapterVersion, Record, Transcript


class Intent(Record):
    """An update about to be asked for, with its whole batch, so that it can be sent again as it was.

    `adapter` is the version that is trained, and that was sampled from unless `sampled_from` names another. `prompts`,
    `responses` and `rollout_ids` are of the answers that came, in order. `feedback` is what was said of all of them,
    None where that differs: `feedback_by_answer` then has it. `user` has what a model that plays the user was asked and
    said, None where none does. `fell_silent`: the user says nothing any more, and it is the last round. `answers` are
    the prompts that the responses are trained as answers to, None where those are `prompts`. `sampling` is None but in
    ledgers of earlier versions, which hold the transcripts of every answer asked for; they now wait in a file of their
    own until the step is on record.
    """

    kind: Literal["intent"] = "intent"
    schema_version: int = SCHEMA_VERSION
    step: int
    key: str
    timestamp: str
    adapter: AdapterVersion
    sampled_from: AdapterVersion | None = None
    feedback: str | None = None
    feedback_by_answer: list[str] | None = None
    user: list[Transcript] | None = None
    fell_silent: bool = False
    prompts: list[str]
    responses: list[str]
    rollout_ids: list[str]
    answers: list[str] | None = None
    sampling: list[Transcript] | None = None
    sample_s: float

    @property
    def said(self) -> list[str]:
        """What was said of each answer."""
        return self.feedback_by_answer or [self.feedback or ""] * len(self.responses)

    @property
    def is_silent(self) -> bool:
        """Whether nothing was said, and every reply of a model that plays the user could be read."""
        read = (each.verdict is not None and each.verdict["satisfied"] is not None for each in self.user or ())
        return not self.responses and all(read)


class Receipt(Record):
    """An update that was made: the version that came of it, and what the algorithm reported.

    Of a round in which nobody gave feedback it is the version that there was, and nothing was trained.

    `step` is that of its intent. `stack_ms` are milliseconds by
    part of the update as the stack measured them, `update_s` the seconds that the harness waited for all of it.
    `lost_metrics` are those that cannot be, with what stood in their place; None when there are none.
    """

    kind: Literal["receipt"] = "receipt"
    schema_version: int = SCHEMA_VERSION
    step: int
    key: str
    timestamp: str
    adapter: AdapterVersion
    sdpo_metrics: dict[str, float]
    lost_metrics: dict[str, str] | None = None
    stack_ms: dict[str, float]
    update_s: float


class _Line(RootModel[Annotated[Intent | Receipt, Field(discriminator="kind")]]):
    """One line of the file."""


class Ledger:
    """The updates of one preference: intent, receipt, intent, receipt; only the last intent may still be open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._intents: list[Intent] = []
        self._receipts: list[Receipt] = []
        for number, line in enumerate(read_lines(path), start=1):
            damaged = f"{path} is damaged at line {number}"
            entry = _parsed(line, damaged)
            self._require_due(entry, damaged)
            self._add(entry)

    @property
    def updates(self) -> int:
        """How many updates have their receipt: the version of the adapter that the ledger knows."""
        return len(self._receipts)

    @property
    def open_intent(self) -> Intent | None:
        """The update that was asked for, or was about to be, and has no receipt yet."""
        return self._intents[-1] if len(self._intents) > len(self._receipts) else None

    def intents(self, first_step: int = 0) -> list[Intent]:
        """Every intent from that of `first_step` on, the open one included."""
        return self._intents[first_step:]

    def update(self, step: int) -> tuple[Intent, Receipt]:
        """The finished update of a step."""
        return self._intents[step], self._receipts[step]

    def write(self, entry: Intent | Receipt) -> None:
        """Enter a line; it is on the disk when this returns."""
        self._require_due(entry, f"{self._path} cannot take this line")
        append_line(self._path, entry.model_dump_json(exclude_none=True))
        self._add(entry)

    def _require_due(self, entry: Intent | Receipt, otherwise: str) -> None:
        """Let in an intent for the next step when none is open, and the receipt of the open one."""
        due = self.open_intent
        if isinstance(entry, Intent):
            fits = due is None and entry.step == self.updates
        else:
            fits = due is not None and (entry.step, entry.key) == (due.step, due.key)
        if not fits:
            raise InvalidInput(f"{otherwise}: {entry.kind} of step {entry.step} after {self.updates} updates")

    def _add(self, entry: Intent | Receipt) -> None:
        if isinstance(entry, Intent):
            self._intents.append(entry)
        else:
            self._receipts.append(entry)


def _parsed(line: str, damaged: str) -> Intent | Receipt:
    try:
        return _Line.model_validate_json(line).root
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise InvalidInput(f"{damaged}: {reason}") from None
