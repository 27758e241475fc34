"""One preference of a run under way: what it works with, and how far it has come."""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from claas.core.checks import adapter_id, versioned_name
from claas.core.concurrency import both
from claas.core.errors import InvalidInput, NotFound, StackError
from claas.eval.metrics.metric import Metric, Subject, seed_for
from claas.eval.metrics.preference import Preference
from claas.eval.run.canary import Canaries, require_sung, sing
from claas.eval.run.folder import OpenRun
from claas.eval.run.measuring import Taken, require_enough, take, tokens
from claas.eval.run.reporter import Reporter
from claas.eval.stacks.stack import Adapter, Stack, base_model
from claas.results.ledger import Ledger
from claas.results.records import AdapterRecord, Baseline, Canary, Metadata, StepRecord
from claas.results.run_files import OnRecord, PreferenceFiles
from claas.results.settings import EvalConfig


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
    model = versioned_name(record.lora_id, record.version)
    return Adapter(lora_id=record.lora_id, version=record.version, digest=record.digest, model=model)


def recorded(adapter: Adapter) -> AdapterRecord:
    """A version as records name it."""
    return AdapterRecord(lora_id=adapter.lora_id, version=adapter.version, digest=adapter.digest)


THROUGH_GATEWAY = (
    "Answers came through an OpenClaw gateway, under its system prompt, while scores come from the API itself. The "
    "gateway decides temperature, seed and token bound: sampled_with of each transcript says what was used. Where that "
    "is not what was asked for, greedy answers were not greedy, and another run with this seed answers otherwise."
)
"""What a reader of the numbers has to know of a run through a gateway."""


async def begin(run: PreferenceRun) -> None:
    """Leave `run` with a baseline, and with a stack that agrees with its ledger."""
    _require_same_content(run)
    run.reporter.preference_started(run.preference.name, run.recorded)
    if run.baseline is not None:
        await _require_agreement(run)
    run.begun(run.baseline or await _measure_baseline(run))


async def _measure_baseline(run: PreferenceRun) -> Baseline:
    seed = seed_for(run.config.seed, run.preference.name, None, "adapter", "")
    adapter = await run.stack.init_adapter(run.lora_id, seed)
    found, canary = await run.take(adapter, None)
    require_enough("baseline", found.counts, run.config.fail_on_error, found.rollouts)
    require_sung("baseline", canary, run.config.fail_on_error, baseline=True)
    baseline = Baseline(
        preference=run.preference.name,
        timestamp=datetime.now(UTC).isoformat(timespec="milliseconds"),
        adapter=recorded(adapter),
        canary=canary,
        eval=found.values,
        counts=found.counts,
        rollouts=found.rollouts,
        timing_s={"measure": found.seconds},
        tokens=tokens(found.rollouts),
    )
    run.files.write_baseline(baseline)
    return baseline


async def _require_agreement(run: PreferenceRun) -> None:
    """The stack's newest version is the ledger's, or one further when an update was sent and its receipt lost."""
    known = run.newest()
    try:
        newest = await run.stack.newest(run.lora_id)
    except NotFound as error:
        raise StackError(
            f"{error}, which this run trained to version {known.version}; continue on the stack that the run was "
            "started on, or start anew in another output_dir"
        ) from error
    if run.ledger.open_intent is not None and newest.version == known.version + 1:
        return
    if (newest.version, newest.digest) != (known.version, known.digest):
        raise StackError(
            f"{run.lora_id} is at version {newest.version} ({newest.digest}) on the stack, but at {known.version} "
            f"({known.digest}) in {run.files.ledger}: it was trained or replaced outside this run; start anew in "
            "another output_dir"
        )


def _require_same_content(run: PreferenceRun) -> None:
    before = run.files.read_metadata()
    if before is None:
        run.files.write_metadata(
            Metadata(
                preference=run.preference.name,
                lora_id=run.lora_id,
                run_id=run.run_id,
                config=asdict(run.config),
                preference_digest=content_digest(run.preference),
                metrics_digest=content_digest(run.metrics),
                notes=[] if run.config.openclaw_url is None else [THROUGH_GATEWAY],
            )
        )
    elif changed := what_changed(before, run.preference, run.metrics):
        raise InvalidInput(
            f"{changed} changed since {run.files.root} was started; restore it, or choose another output_dir"
        )


def what_changed(recorded: Metadata, preference: Preference, metrics: Mapping[str, Metric]) -> str | None:
    """What is not as it was when this was recorded, as far as its digest was; None when nothing."""
    if recorded.preference_digest not in (None, content_digest(preference)):
        return f"the preference {preference.name!r} has"
    if recorded.metrics_digest not in (None, content_digest(metrics)):
        return f"what the metrics {', '.join(metrics)} ask (metrics.yaml, capability/*.yaml) has"
    return None


def content_digest(content: object) -> str:
    """sha256 of everything that `content` says as `repr`; where objects lie in memory is no part of that."""
    return hashlib.sha256(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(content)).encode()).hexdigest()
