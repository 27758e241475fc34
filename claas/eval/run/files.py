"""The one store that knows a run folder's paths, and writes and reads its records."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from claas.core.errors import InvalidInput
from claas.core.files import append_line, read_lines, read_text, write_atomically
from claas.eval.records import Baseline, Metadata, Record, StepRecord

R = TypeVar("R", bound=Record)


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
    def stack(self) -> Path:
        """Folder of the embedded stack: adapters, rollouts, receipts."""
        return self.root / "stack"

    @property
    def lock(self) -> Path:
        """Held by the process that works on this run."""
        return self.root / ".lock"

    def preference(self, name: str) -> "PreferenceFiles":
        """The files of one preference."""
        return PreferenceFiles(self.root / name)


RESERVED = frozenset({"plots", "stack"})
"""Names in a run folder that no preference can have."""


@dataclass(frozen=True)
class PreferenceFiles:
    """The folder of one preference within a run."""

    root: Path

    @property
    def ledger(self) -> Path:
        """An intent before and a receipt after each update."""
        return self.root / "ledger.jsonl"

    def read_metadata(self) -> Metadata | None:
        """None before the preference was begun."""
        return _read(self.root / "metadata.json", Metadata)

    def write_metadata(self, metadata: Metadata) -> None:
        """Write what does not change over the run."""
        _write(self.root / "metadata.json", metadata)

    def read_baseline(self) -> Baseline | None:
        """None before it was measured."""
        return _read(self.root / "baseline.json", Baseline)

    def write_baseline(self, baseline: Baseline) -> None:
        """Write the measurement of version 0."""
        _write(self.root / "baseline.json", baseline)

    def read_steps(self) -> list[StepRecord]:
        """Every step on record, in order; a torn last line is none."""
        path = self.root / "steps.jsonl"
        steps = [parsed(path, line, StepRecord) for line in read_lines(path)]
        for expected, step in enumerate(steps):
            if step.step != expected:
                raise InvalidInput(f"{path} is damaged: line {expected + 1} is of step {step.step}, not {expected}")
        return steps

    def append_step(self, step: StepRecord) -> None:
        """Add one whole line, on the disk when this returns."""
        append_line(self.root / "steps.jsonl", step.model_dump_json())


def parsed(path: Path, text: str, kind: type[R]) -> R:
    """A record from its JSON; `InvalidInput` that names the file when it is not one."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InvalidInput(
            f"{path} cannot be read: {where} {problem['msg']}; start anew in another output_dir"
        ) from None


def _read(path: Path, kind: type[R]) -> R | None:
    return parsed(path, read_text(path), kind) if path.exists() else None


def _write(path: Path, record: Record) -> None:
    write_atomically(path, record.model_dump_json(indent=2) + "\n")
