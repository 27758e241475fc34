"""What a preference's files hold, read together and known to fit together."""

from dataclasses import dataclass
from typing import Self

from claas.core.errors import InvalidInput
from claas.eval.history import History
from claas.eval.records import Baseline, StepRecord
from claas.eval.run.files import PreferenceFiles
from claas.eval.run.ledger import Ledger


@dataclass(frozen=True)
class OnRecord:
    """How far a preference has come: `baseline` is None before it was measured, and then there is nothing else."""

    baseline: Baseline | None
    ledger: Ledger
    steps: list[StepRecord]

    @classmethod
    def read(cls, files: PreferenceFiles) -> Self:
        """What the files hold, whether or not they fit together; `InvalidInput` when one of them cannot be read."""
        return cls(files.read_baseline(), Ledger(files.ledger), files.read_steps())

    def history(self, preference: str, planned_steps: int, failure: str | None = None) -> History:
        """What was measured, without what was trained."""
        return History(preference, planned_steps, self.baseline, tuple(self.steps), failure)


def read_records(files: PreferenceFiles) -> OnRecord:
    """Everything on record; `InvalidInput` says what is gone, or contradicts the rest.

    Each file is written before the next one needs it, so no crash leaves a gap: what is missing was lost later.
    """
    found = OnRecord.read(files)
    damage = _damage(files, found)
    if damage is not None:
        raise InvalidInput(f"{files.root} is damaged: {damage}; put it back, or start anew in another output_dir")
    return found


def _damage(files: PreferenceFiles, found: OnRecord) -> str | None:
    updates = found.ledger.updates
    if found.baseline is None:
        begun = updates or found.ledger.open_intent or found.steps
        return "baseline.json is missing, though updates were made after it" if begun else None
    if files.read_metadata() is None:
        return "metadata.json is missing"
    if len(found.steps) > updates:
        return f"ledger.jsonl has {updates} updates for the {len(found.steps)} steps of steps.jsonl"
    for step in found.steps:
        if step.adapter != found.ledger.update(step.step)[1].adapter:
            return f"step {step.step} of steps.jsonl was measured on another version than ledger.jsonl says it made"
    return None
