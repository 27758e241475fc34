"""Watching a run: a reporter hears of everything as it happens, and decides nothing."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from claas.results.keys import Key
from claas.results.records import Baseline, StepRecord, Transcript
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults


class Reporter(Protocol):
    """Every method returns at once and raises nothing; one that a subclass leaves out does nothing."""

    counts_requests = False
    """Whether it is told of every request, and how many there will be; counting those takes a moment."""

    def doing(self, what: str) -> None:
        """What the run as a whole is busy with besides its preferences, such as loading the model; empty: nothing."""

    def run_started(
        self, config: EvalConfig, run_dir: Path, keys: Mapping[str, Sequence[Key]], planned: Mapping[str, int]
    ) -> None:
        """The run folder is open; `config` is the resolved one, `keys` are those that each track declares, and
        `planned` is how many steps it has."""

    def preference_started(self, name: str, resumed_at: int) -> None:
        """Work on a preference begins, `resumed_at` of its steps being on record from before."""

    def requests_planned(self, name: str, requests: Sequence[int]) -> None:
        """How many requests a preference makes in all: for its baseline, and for each of its steps."""

    def steps_found(self, name: str, steps: Sequence[StepRecord]) -> None:
        """The steps on record from before, where there are any; its baseline is told after them."""

    def request_ended(self, name: str, request: Transcript) -> None:
        """A request of a preference was answered, or lost."""

    def baseline_measured(self, name: str, baseline: Baseline) -> None:
        """Version 0 was measured; on a resumed preference, read back from its record."""

    def step_finished(self, name: str, record: StepRecord, seconds: float) -> None:
        """A step is on record, `seconds` of wall time after the one before it or the baseline."""

    def preference_ended(self, name: str, failure: str | None) -> None:
        """Every planned step is on record, or `failure` says why not."""

    def stopping(self) -> None:
        """Somebody asked the run to stop, which it does once what cannot be broken off has ended."""

    def remarked(self, remark: str) -> None:
        """Something that a person is to know, and that does not stop the run; from any thread."""

    def run_finished(self, results: RunResults) -> None:
        """Everything is written."""


class Silent(Reporter):
    """The reporter of those who call the harness from Python and want nothing printed; remarks go to `logging`."""

    def remarked(self, remark: str) -> None:
        """A warning."""
        logging.getLogger("claas.eval").warning(remark)
