"""A run's folder: the store that knows its paths, writes and reads its records, and checks that they fit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ValidationError

from claas.core.checks import first_problem
from claas.core.errors import InvalidInput
from claas.core.files import append_line, read_lines, read_text, write_atomically, writing
from claas.results.keys import Key, keys_of_schema_1
from claas.results.ledger import Intent, Ledger
from claas.results.records import (
    SCHEMA_VERSION,
    Baseline,
    History,
    Metadata,
    Record,
    SampledBatch,
    StepRecord,
    rounds_held,
)

R = TypeVar("R", bound=Record)


class _Versioned(BaseModel):
    """What every record of any version has."""

    schema_version: int


@dataclass(frozen=True)
class RunFiles:
    """The folder of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """The manifest: resolved configuration, package versions, git commit."""
        return self.root / "config.json"

    @property
    def plots(self) -> Path:
        """Folder of the PNG files."""
        return self.root / "plots"

    @property
    def report(self) -> Path:
        """The page of the run, in one file."""
        return self.root / "report.html"

    @property
    def stack(self) -> Path:
        """Folder of the embedded stack: adapters, rollouts, receipts."""
        return self.root / "stack"

    @property
    def user(self) -> Path:
        """Every reply of the model that plays the user, as it came."""
        return self.root / "user.jsonl"

    @property
    def sessions(self) -> Path:
        """When processes worked on this run."""
        return self.root / "sessions.jsonl"

    @property
    def labels(self) -> Path:
        """What a person has noted about this run; nothing that is measured depends on it."""
        return self.root / "labels.json"

    @property
    def lock(self) -> Path:
        """Held by the process that works on this run."""
        return self.root / ".lock"

    def preference(self, name: str) -> "PreferenceFiles":
        """The files of one preference."""
        return PreferenceFiles(self.root / name)


RESERVED = frozenset({"plots", "stack", "tensorboard", "wandb", "user.jsonl", "sessions.jsonl", "labels.json"})
"""Names in a run folder that no preference can have."""


@dataclass(frozen=True)
class PreferenceFiles:
    """The folder of one preference within a run."""

    root: Path

    @property
    def ledger(self) -> Path:
        """An intent before and a receipt after each update."""
        return self.root / "ledger.jsonl"

    @property
    def baseline(self) -> Path:
        """The measurement of version 0."""
        return self.root / "baseline.json"

    @property
    def steps(self) -> Path:
        """One line per step."""
        return self.root / "steps.jsonl"

    @property
    def sampled(self) -> Path:
        """Folder of what was sampled for steps that are not on record yet, and for the last one that is."""
        return self.root / "sampled"

    def read_metadata(self) -> Metadata | None:
        """What does not change over the run; None before the preference was started."""
        return _read(self.root / "metadata.json", Metadata)

    def write_metadata(self, metadata: Metadata) -> None:
        """Write what does not change over the run."""
        _write(self.root / "metadata.json", metadata)

    def read_baseline(self) -> Baseline | None:
        """The measurement of version 0; None before it was made."""
        return _read(self.baseline, Baseline)

    def write_baseline(self, baseline: Baseline) -> None:
        """Write the measurement of version 0."""
        _write(self.baseline, baseline)

    def read_sampled(self, intent: Intent) -> SampledBatch | None:
        """What was sampled for an update, from the ledger where an earlier version wrote that; None when it is gone.

        `InvalidInput` when it is not what the intent was made of.
        """
        if intent.sampling is not None:
            return SampledBatch(step=intent.step, transcripts=intent.sampling)
        path = self._sampled_for(intent.step)
        batch = _read(path, SampledBatch)
        if batch is not None and not set(intent.rollout_ids) <= {answer.rollout_id for answer in batch.answered}:
            raise InvalidInput(
                f"{path} is damaged: it does not hold the answers that {self.ledger} says step {intent.step} was "
                "trained on; put it back, or start anew in another output_dir"
            )
        return batch

    def write_sampled(self, batch: SampledBatch) -> None:
        """Keep what was sampled for a step until its record holds it."""
        write_atomically(self._sampled_for(batch.step), batch.model_dump_json() + "\n")

    def read_steps(self) -> list[StepRecord]:
        """Every step on record, in order; a torn last line is none."""
        steps = [parsed(self.steps, line, StepRecord) for line in read_lines(self.steps)]
        for expected, step in enumerate(steps):
            if step.step != expected:
                wrong = f"line {expected + 1} is of step {step.step}, not {expected}"
                raise InvalidInput(f"{self.steps} is damaged: {wrong}")
        return steps

    def append_step(self, step: StepRecord) -> None:
        """Add one whole line, on the disk when this returns.

        What was sampled for the steps before goes; for this one it stays, as long as its line is the last one, which a
        crash of the machine, or a copy made at the wrong moment, can tear.
        """
        append_line(self.steps, step.model_dump_json())
        with writing(self.sampled):
            for path in self.sampled.glob("*.json"):
                if path.stem.isdecimal() and int(path.stem) < step.step:
                    path.unlink()

    def _sampled_for(self, step: int) -> Path:
        return self.sampled / f"{step}.json"


def parsed(path: Path, text: str, kind: type[R], mend: str = "start anew in another output_dir") -> R:
    """A record from its JSON; `InvalidInput` that names the file, and the mend, when it is not one."""
    try:
        record = kind.model_validate_json(text)
    except ValidationError as error:
        _require_known_schema(path, text)
        raise InvalidInput(f"{path} cannot be read: {first_problem(error)}; {mend}") from None
    if getattr(record, "schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        _require_known_schema(path, text)
    return record


def _require_known_schema(path: Path, text: str) -> None:
    """`InvalidInput` for a record that a later version wrote: the same fields may mean something else there."""
    try:
        version = _Versioned.model_validate_json(text).schema_version
    except ValidationError:
        return
    if version > SCHEMA_VERSION:
        raise InvalidInput(
            f"{path} is of schema {version}, this version reads up to {SCHEMA_VERSION}; use the version that wrote it"
        )


def _read(path: Path, kind: type[R]) -> R | None:
    return parsed(path, read_text(path), kind) if path.exists() else None


def _write(path: Path, record: Record) -> None:
    write_atomically(path, record.model_dump_json(indent=2) + "\n")


@dataclass(frozen=True)
class PreferenceRecords:
    """How far a preference has come: `baseline` is None before it was measured, and then there is nothing else."""

    baseline: Baseline | None
    ledger: Ledger
    steps: list[StepRecord]
    keys: tuple[Key, ...]

    @classmethod
    def read(cls, files: PreferenceFiles) -> Self:
        """What the files hold, whether or not they fit together; `InvalidInput` when one of them cannot be read."""
        keys = declared_keys(files.read_metadata())
        return cls(files.read_baseline(), Ledger(files.ledger), files.read_steps(), keys)

    @classmethod
    def read_whole(cls, files: PreferenceFiles) -> Self:
        """What the files hold; `InvalidInput` says what is gone, or contradicts the rest.

        Each file is written before the next one needs it, so no crash leaves a gap: what is missing was lost later.
        """
        records = cls.read(files)
        damage = records.damage(files)
        if damage is not None:
            raise InvalidInput(f"{files.root} is damaged: {damage}; put it back, or start anew in another output_dir")
        return records

    def damage(self, files: PreferenceFiles) -> str | None:
        """What keeps these records from being continued; None when nothing does."""
        updates = self.ledger.updates
        if self.baseline is None:
            started = self.ledger.intents() or self.steps
            return "baseline.json is missing, though updates were made after it" if started else None
        if files.read_metadata() is None:
            return "metadata.json is missing"
        if len(self.steps) > updates:
            return f"ledger.jsonl has {updates} updates for the {len(self.steps)} steps of steps.jsonl"
        for step in self.steps:
            if step.adapter != self.ledger.update(step.step)[1].adapter:
                return f"step {step.step} of steps.jsonl was measured on another version than ledger.jsonl says it made"
        for intent in self.ledger.intents(first_step=len(self.steps)):
            if files.read_sampled(intent) is None:
                return f"step {intent.step} is not in steps.jsonl, and what was sampled for it not in sampled/"
        return None

    @property
    def next_step(self) -> int | None:
        """The first step that is not on record; None before the baseline is."""
        return None if self.baseline is None else len(self.steps)

    def is_complete(self, planned_steps: int) -> bool:
        """Whether every round is on record."""
        return len(self.steps) >= rounds_held(planned_steps, self.steps)

    def history(self, preference: str, planned_steps: int, failure: str | None = None) -> History:
        """What was measured, without what was trained."""
        held = rounds_held(planned_steps, self.steps)
        return History(preference, held, self.baseline, tuple(self.steps), failure, self.keys)


def declared_keys(metadata: Metadata | None) -> tuple[Key, ...]:
    """What a preference's metrics declared of their numbers, or what those of earlier versions meant."""
    return keys_of_schema_1() if metadata is None or metadata.keys is None else metadata.keys
