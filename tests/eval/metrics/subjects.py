"""A subject of measurement over the scripted stack, and a measurement turned into the baseline of the next."""

import asyncio
from dataclasses import replace

from claas.eval.metrics.metric import Measurement, Metric, Subject
from claas.eval.metrics.preference import LogprobPair, Preference
from claas.eval.metrics.verifiers import ConciseVerifier
from claas.results.records import AdapterVersion, Baseline
from tests.fakes.stack import FakeStack, adapter

SHORT = "Rain falls from clouds when the drops in them grow heavy. That is all."
PREFERENCE = Preference(
    name="concise",
    feedback_string="Be more concise",
    verifier=ConciseVerifier(),
    logprob_pairs=(
        LogprobPair(({"role": "user", "content": "one"},), "yes one", "no one"),
        LogprobPair(({"role": "user", "content": "two"},), "yes two", "no two"),
    ),
    probe_prompts=("Why does it rain?", "Why does it snow?"),
    heldout_prompts=("Why is there wind?", "Why is there fog?", "Why is there hail?"),
)


def subject(stack: FakeStack, preference: Preference = PREFERENCE, baseline: Baseline | None = None) -> Subject:
    """At baseline, or at step 0 after one."""
    step = None if baseline is None else 0
    version = 0 if baseline is None else 1
    return Subject(stack, adapter("eval/concise", version), preference, step, baseline, run_seed=7, max_tokens=50)


def measure(metric: Metric, of: Subject) -> Measurement:
    """What the metric finds."""
    return asyncio.run(metric.measure(of))


def measured_again(
    metric: Metric, before: FakeStack, after: FakeStack, preference: Preference = PREFERENCE
) -> Measurement:
    """What the metric finds at a step on `after`, with `before` measured as its baseline."""
    first = subject(before, preference)
    return measure(metric, subject(after, preference, baseline_of(measure(metric, first), first)))


def baseline_of(found: Measurement, at: Subject) -> Baseline:
    """The record of a baseline, as it comes back from the file it is written to."""
    record = Baseline(
        preference=at.preference.name,
        timestamp="2026-01-01T00:00:00Z",
        adapter=AdapterVersion(lora_id=at.adapter.lora_id, version=0, digest=at.adapter.digest),
        eval=dict(found.values),
        counts=dict(found.counts),
        rollouts=list(found.rollouts),
        timing_s={},
        tokens={},
    )
    return Baseline.model_validate_json(record.model_dump_json())


def with_pairs(*pairs: LogprobPair) -> Preference:
    """The preference of these tests with other pairs."""
    return replace(PREFERENCE, logprob_pairs=pairs)
