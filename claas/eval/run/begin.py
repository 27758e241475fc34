"""The start of a preference: version 0 and its baseline, or the proof that the stack is where the records left it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from claas.core.errors import InvalidInput, NotFound, StackError
from claas.eval.metric import Metric
from claas.eval.preference import Preference
from claas.eval.records import Baseline, Metadata
from claas.eval.run.canary import require_sung
from claas.eval.run.measuring import require_enough, tokens
from claas.eval.run.preference_run import PreferenceRun, recorded
from claas.eval.seeds import seed_for

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
