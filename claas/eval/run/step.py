"""One step in its two halves: an update made exactly once, and the version it made measured."""

import time
from datetime import UTC, datetime

from claas.eval.cost import update_tokens
from claas.eval.records import Counts, StepRecord, Transcript
from claas.eval.run.canary import require_sung
from claas.eval.run.ledger import Paid
from claas.eval.run.measuring import require_enough, tokens
from claas.eval.run.preference_run import PreferenceRun, pinned, recorded
from claas.eval.run.sampling import PURPOSE, feedback_on, feedback_text, sample


async def train(run: PreferenceRun, step: int) -> None:
    """Make the update of `step`, unless it has its receipt; one that was begun is sent again as it was."""
    if step < run.ledger.updates or step >= run.config.num_steps:
        return
    intent = run.ledger.open_intent
    if intent is None:
        config, subject = run.config, run.subject(run.newest(), step)
        feedback = feedback_text(step, run.preference, config.feedback_variation, config.seed)
        every = config.fail_on_error is True
        intent = await sample(
            subject, step, run.key(step), feedback, config.batch_size, config.temperature, every=every
        )
        run.ledger.write(intent)
    started = time.monotonic()
    receipt = await run.stack.give_feedback(
        pinned(intent.adapter), feedback_on(intent), run.config.training, intent.key
    )
    run.ledger.write(
        Paid(
            step=step,
            key=intent.key,
            timestamp=_now(),
            adapter=recorded(receipt.adapter),
            sdpo_metrics=dict(receipt.metrics),
            stack_ms=dict(receipt.timing_ms),
            update_s=time.monotonic() - started,
        )
    )


async def measure(run: PreferenceRun, step: int) -> None:
    """Measure the version that `step` made, and put the step on record, unless it is."""
    if step < run.recorded:
        return
    intent, paid = run.ledger.update(step)
    found, canary = await run.take(pinned(paid.adapter), step)
    require_enough(f"step {step}", found.counts, run.config.fail_on_error, found.rollouts)
    require_sung(f"step {step}", canary, run.config.fail_on_error, baseline=False)
    rollouts = intent.sampling + found.rollouts
    run.record(
        StepRecord(
            preference=run.preference.name,
            step=step,
            timestamp=_now(),
            adapter=paid.adapter,
            canary=canary,
            feedback_given=intent.feedback,
            prompts=intent.prompts,
            responses=intent.responses,
            rollout_ids=intent.rollout_ids,
            sdpo_metrics=paid.sdpo_metrics,
            eval=found.values,
            counts={PURPOSE: _sampled(intent.sampling), **found.counts},
            rollouts=rollouts,
            timing_s={"sample": intent.sample_s, "update": paid.update_s, "measure": found.seconds},
            tokens=tokens(rollouts) | update_tokens(paid.sdpo_metrics),
        )
    )


def _sampled(transcripts: list[Transcript]) -> Counts:
    return Counts(
        planned=len(transcripts),
        scored=sum(transcript.error is None for transcript in transcripts),
        errored=sum(transcript.error is not None for transcript in transcripts),
        truncated=sum(transcript.finish_reason == "length" for transcript in transcripts),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
