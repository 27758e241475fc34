"""What a scan of checkpoints writes: each with its scores, and which is the best."""

import csv
import io
from pathlib import Path

from pydantic import Field

from claas.core.files import write_atomically
from claas.results.records import SCHEMA_VERSION, Record
from claas.results.selection import Selection


class CheckpointScore(Record):
    """One number of one checkpoint: over `n` items, with the interval of their mean.

    `ci` is None where the number is no mean of items' scores, or where these are too few.
    """

    value: float
    ci: tuple[float, float] | None
    n: int | None


class ScannedCheckpoint(Record):
    """One checkpoint. `step` is its version, or the number in its name, else its place in the order.

    `model` is the name it was asked by, `base_model` that itself or what it is an adapter of, `digest` its weights, and
    `run` the folder of its details beside `scan.json`.
    `failed` says of a measure that has no score why.
    """

    name: str
    step: int
    model: str
    base_model: str
    digest: str
    run: str
    scores: dict[str, CheckpointScore] = Field(default_factory=dict[str, CheckpointScore])
    failed: dict[str, str] = Field(default_factory=dict[str, str])


class ScanMeasure(Record):
    """What the checkpoints are scored by: `task/metric`, or `eval_loss` in nats per token.

    `not_chosen_by` says why none can be the best by it, None where one can.
    """

    name: str
    less_is_better: bool
    not_chosen_by: str | None


class Scan(Record):
    """`scan.json`: checkpoints in order of training, and the best of them by the rule that was asked for.

    `selection` is None where there are no scores to choose by. `fixture` and `smoke` say of the numbers that they only
    show that everything works.
    """

    schema_version: int = SCHEMA_VERSION
    created: str
    suite: str | None
    fixture: bool
    smoke: bool
    confidence: float
    measures: list[ScanMeasure]
    checkpoints: list[ScannedCheckpoint]
    selection: Selection | None

    def as_csv(self) -> str:
        """A row for each checkpoint, and for each measure its value and the ends of its interval."""
        file = io.StringIO()
        rows = csv.writer(file, lineterminator="\n")
        names = [measure.name for measure in self.measures]
        rows.writerow(
            ["checkpoint", "step", "digest", *(f"{name}{end}" for name in names for end in ("", " low", " high"))]
        )
        for each in self.checkpoints:
            cells: list[object] = [each.name, each.step, each.digest]
            for name in names:
                score = each.scores.get(name)
                cells += ["", "", ""] if score is None else [score.value, *(score.ci or ("", ""))]
            rows.writerow(cells)
        return file.getvalue()

    def write(self, folder: Path) -> None:
        """Write `scan.json` and `scan.csv`."""
        write_atomically(folder / "scan.json", self.model_dump_json(indent=1) + "\n")
        write_atomically(folder / "scan.csv", self.as_csv())
