"""What a run leaves in the hands of whoever started it from Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claas.eval.history import History
from claas.eval.types import EvalConfig
from claas.eval.verdicts.summary import Summary


@dataclass(frozen=True)
class RunResults:
    """A run as its folder records it.

    `config` is the resolved configuration. `preferences` holds each preference's baseline, steps and failure (None
    when it is complete). `new_steps` counts the steps that this call added: 0 when the run had been finished before.
    """

    run_dir: Path
    config: EvalConfig
    preferences: Mapping[str, History]
    summary: Summary
    new_steps: int

    @property
    def failures(self) -> dict[str, str]:
        """Why each preference that ended early did; a run with none is complete."""
        return {name: history.failure for name, history in self.preferences.items() if history.failure is not None}
