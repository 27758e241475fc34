"""One preference of a run under way: what it works with, and how far it has come."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from claas.core.checks import adapter_id, served_name
from claas.core.concurrency import both
from claas.eval.metric import Metric, Subject
from claas.eval.preference import Preference
from claas.eval.records import AdapterRecord, Baseline, Canary, StepRecord
from claas.eval.reporter import Reporter
from claas.eval.run.canary import Canaries, sing
from claas.eval.run.files import PreferenceFiles
from claas.eval.run.folder import OpenRun
from claas.eval.run.ledger import Ledger
from claas.eval.run.measuring import Taken, take
from claas.eval.run.on_record import OnRecord
from claas.eval.stack import Adapter, Stack, base_model
from claas.eval.types import EvalConfig


@dataclass
class PreferenceRun:
    """`recorded` counts the steps on record; the ledger counts the updates made, which may be further ahead."""

    stack: Stack
    preference: Preference
    metrics: Mapping[str, Metric]
    config: EvalConfig
    run_id: str
    files: PreferenceFiles
    ledger: Ledger
    reporter: Reporter
    recorded: int
    baseline: Baseline | None
    canaries: Canaries
    _since: float = field(default_factory=time.monotonic)

    @property
    def lora_id(self) -> str:
        """The adapter's id: no other run's, as long as run folders have different names."""
        return adapter_id(f"{self.config.lora_id_prefix}/{self.preference.name}-{self.run_id}")

    def key(self, step: int) -> str:
        """The idempotency key of a step's update."""
        return f"{self.run_id}/{self.preference.name}/{step}"

    def newest(self) -> Adapter:
        """The newest version that the records know: the last receipt's, or the baseline's."""
        if self.ledger.updates:
            return pinned(self.ledger.update(self.ledger.updates - 1)[1].adapter)
        assert self.baseline is not None, "the baseline is measured before the first step"
        return pinned(self.baseline.adapter)

    def subject(self, adapter: Adapter, step: int | None) -> Subject:
        """A version as metrics see it."""
        return Subject(
            stack=self.stack,
            adapter=adapter,
            preference=self.preference,
            step=step,
            baseline=self.baseline,
            run_seed=self.config.seed,
            max_tokens=self.config.max_tokens,
        )

    async def take(self, adapter: Adapter, step: int | None) -> tuple[Taken, Canary]:
        """Measure a version, the canary among the rest; `WrongWeights` when that shows that others answered."""
        subject, collapse_steps = self.subject(adapter, step), frozenset(self.config.collapse_steps or ())
        assert self.config.base_model is not None, "a run's configuration is resolved"
        singing = sing(subject, base_model(self.config.base_model))
        found, canary = await both(take(self.metrics, subject, collapse_steps), singing)
        self.canaries.add(recorded(adapter), canary)
        return found, canary

    def begun(self, baseline: Baseline) -> None:
        """Tell that the steps begin now, from this baseline."""
        self.baseline, self._since = baseline, time.monotonic()
        self.reporter.baseline_measured(self.preference.name, baseline)

    def record(self, step: StepRecord) -> None:
        """Put a step on record, and tell."""
        self.files.append_step(step)
        self.recorded += 1
        since, self._since = self._since, time.monotonic()
        self.reporter.step_finished(self.preference.name, step, self._since - since)


def open_preference(
    run: OpenRun,
    preference: Preference,
    found: OnRecord,
    metrics: Mapping[str, Metric],
    stack: Stack,
    reporter: Reporter,
) -> PreferenceRun:
    """A preference of `run`, as far as its records say it has come; `WrongWeights` when its canaries say so."""
    for record in filter(None, (found.baseline, *found.steps)):
        run.canaries.add(record.adapter, record.canary)
    return PreferenceRun(
        stack=stack,
        preference=preference,
        metrics=metrics,
        config=run.config,
        run_id=run.run_id,
        files=run.files.preference(preference.name),
        ledger=found.ledger,
        reporter=reporter,
        recorded=len(found.steps),
        baseline=found.baseline,
        canaries=run.canaries,
    )


def pinned(record: AdapterRecord) -> Adapter:
    """The version a record names."""
    model = f"{served_name(record.lora_id)}@{record.version}"
    return Adapter(lora_id=record.lora_id, version=record.version, digest=record.digest, model=model)


def recorded(adapter: Adapter) -> AdapterRecord:
    """A version as records name it."""
    return AdapterRecord(lora_id=adapter.lora_id, version=adapter.version, digest=adapter.digest)
