"""The reporter interface: it is told of everything in a run as it happens, and decides nothing."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from claas.results.keys import Key
from claas.results.records import Baseline, StepRecord, Transcript
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults


class Reporter(Protocol):
    """Every method returns at once and raises nothing; methods that a subclass does not override do nothing."""

    counts_requests = False
    """Whether it wants the number of requests in advance, which takes a moment to count."""

    def doing(self, what: str) -> None:
        """What the run is busy with besides its preferences, such as loading the model; empty for nothing."""

    def run_started(
        self, config: EvalConfig, run_dir: Path, keys: Mapping[str, Sequence[Key]], planned: Mapping[str, int]
    ) -> None:
        """The run folder is open. `config` is resolved; `keys` and `planned` are each track's keys and step counts."""

    def preference_started(self, name: str, resumed_at: int) -> None:
        """Work on a preference begins; `resumed_at` of its steps are on record from before."""

    def requests_planned(self, name: str, requests: Sequence[int]) -> None:
        """How many requests a preference will make: for its baseline, and for each of its steps."""

    def steps_found(self, name: str, steps: Sequence[StepRecord]) -> None:
        """The steps on record from before, if any; the baseline is reported after them."""

    def request_ended(self, name: str, request: Transcript) -> None:
        """A request of a preference was answered or lost."""

    def baseline_measured(self, name: str, baseline: Baseline) -> None:
        """Version 0 was measured; on a resumed preference, it was read back from its record."""

    def step_finished(self, name: str, record: StepRecord, seconds: float) -> None:
        """A step is on record, `seconds` of wall time after the previous one or the baseline."""

    def preference_ended(self, name: str, failure: str | None) -> None:
        """Every planned step is on record, or `failure` says why not."""

    def stopping(self) -> None:
        """The run was asked to stop, which it does as soon as work that cannot be interrupted has ended."""

    def remarked(self, remark: str) -> None:
        """A warning for the user that does not stop the run; called from any thread."""

    def run_finished(self, results: RunResults) -> None:
        """Everything is written."""


class Silent(Reporter):
    """The reporter of those who call the harness from Python and want nothing printed; remarks go to `logging`."""

    def remarked(self, remark: str) -> None:
        """A warning."""
        logging.getLogger("claas.eval").warning(remark)
