"""What a run and its store look like on the disk, while other processes write them and after."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

TIMES = frozenset({"timestamp", "timing_s", "sample_s", "update_s", "stack_ms"})
"""Keys of a record that say how long something took, or when it was."""

RANDOM_IDS = frozenset({"rollout_id", "rollout_ids"})
"""Keys under which the API's own random names of answers stand."""


class Stage(StrEnum):
    """Where in its work a run was struck."""

    BEGINNING = "before its baseline was on record"
    SAMPLING = "while it sampled or measured"
    UPDATING = "while an update was asked for and not made"
    OWED = "between an update and its receipt"


@dataclass(frozen=True)
class OnDisk:
    """One preference's records in `run`, and the store of the stack that trains it."""

    run: Path
    store: Path
    preference: str = "calm"

    @property
    def records(self) -> Path:
        """The preference's folder."""
        return self.run / self.preference

    def baselines(self) -> int:
        """1 once the baseline is on record."""
        return int((self.records / "baseline.json").exists())

    def intents(self) -> int:
        """Updates that were asked for, or are about to be."""
        return _count(self.records / "ledger.jsonl", b'"kind":"intent"')

    def receipts(self) -> int:
        """Updates known to be made."""
        return _count(self.records / "ledger.jsonl", b'"kind":"receipt"')

    def steps(self) -> int:
        """Steps on record."""
        return _count(self.records / "steps.jsonl", b"\n")

    def updates(self) -> int:
        """Versions that the engine has made after version 0."""
        return max(0, len(self._version_folders()) - 1)

    def stage(self) -> Stage:
        """Where the run stands: asked when nothing works on it."""
        if not self.baselines():
            return Stage.BEGINNING
        if self.intents() == self.receipts():
            return Stage.SAMPLING
        return Stage.OWED if self.updates() == self.intents() else Stage.UPDATING

    def versions(self) -> list[dict[str, Any]]:
        """What the engine's store says of every version, oldest first, less times."""
        found = [json.loads((folder / "version.json").read_text()) for folder in self._version_folders()]
        return [{key: value for key, value in each.items() if key not in ("created", "timing_ms")} for each in found]

    def trainings(self) -> dict[int, int]:
        """By version, how many batches the API's feedback log says made it: one, or none if a kill came before."""
        found: dict[int, int] = {}
        for path in self.store.glob("feedback/*.json"):
            entry = json.loads(path.read_text())
            if entry["version"] is not None and not entry["replayed"]:
                found[entry["version"]] = found.get(entry["version"], 0) + 1
        return found

    def outcome(self) -> dict[str, Any]:
        """Everything the run has on record, less times and random ids."""
        return {
            "baseline": comparable(json.loads((self.records / "baseline.json").read_text())),
            "steps": [comparable(json.loads(line)) for line in _lines(self.records / "steps.jsonl")],
            "ledger": [comparable(json.loads(line)) for line in _lines(self.records / "ledger.jsonl")],
            "summary": comparable(json.loads((self.run / "summary.json").read_text())),
        }

    def _version_folders(self) -> list[Path]:
        return sorted(self.store.glob("adapters/*/[0-9]*"))


def comparable(value: Any) -> Any:
    """A record without what two runs of one seed may differ in."""
    if isinstance(value, Mapping):
        kept = {key: inner for key, inner in value.items() if key not in TIMES | RANDOM_IDS}
        return {key: comparable(inner) for key, inner in kept.items()}
    return [comparable(inner) for inner in value] if isinstance(value, list) else value


def tear_last_line(path: Path, missing_bytes: int) -> None:
    """Leave a part of the last line, as a crash that comes while it is written does."""
    *whole, last = _lines(path)
    kept = max(0, len(last) - missing_bytes)
    path.write_bytes(b"".join(line + b"\n" for line in whole) + last[:kept])


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def _count(path: Path, what: bytes) -> int:
    try:
        return path.read_bytes().count(what)
    except FileNotFoundError:
        return 0
