"""The loop of a track: sample, train, measure. A version is measured while the next one is being made."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from claas.core.concurrency import together
from claas.core.errors import StackError
from claas.core.settings import TrainingConfig
from claas.core.text import visible
from claas.eval.metrics.metric import Subject, counted
from claas.eval.protocols.tracks import Round, Track
from claas.eval.run.canary import require_canary
from claas.eval.run.measuring import require_enough, tokens
from claas.eval.run.track_run import TrackRun, start_or_resume
from claas.eval.run.user import SimulatedUser
from claas.eval.stacks.stack import WrongWeights
from claas.results.ledger import Intent, Receipt
from claas.results.records import SAMPLED, USER, Counts, SampledBatch, StepRecord, Transcript, utc_now
from claas.results.summary import update_tokens
from claas.wire.chat import ChatMessage
from claas.wire.feedback import FeedbackItem


async def run_track(run: TrackRun, steps: int | None = None) -> None:
    """Run a started track from where its records end to its last planned step, or through the first `steps`.

    A `StackError` leaves it in a state from which the same call continues.
    """
    await start_or_resume(run)
    step, until = run.steps_recorded, run.track.num_steps if steps is None else steps
    while step < min(until, run.num_steps):
        await _both_to_their_ends(train(run, step), measure(run, step - 1))
        step += 1
    await measure(run, step - 1)


async def train(run: TrackRun, step: int) -> None:
    """Make the update of `step` unless its receipt is on record; one that was sent before is sent again unchanged.

    A round without feedback makes no version: its receipt names the one before.
    """
    if step < run.ledger.updates:
        return
    intent = run.ledger.open_intent or await _prepare_update(run, step)
    if not intent.responses:
        run.ledger.write(silent_receipt(intent))
        return
    items = feedback_items(intent, run.config.training_of(run.track.arm))
    receipt = await run.stack.give_feedback(intent.adapter, items, intent.key)
    run.ledger.write(receipt.model_copy(update={"step": step}))


async def measure(run: TrackRun, step: int) -> None:
    """Measure the version that `step` made and record the step, unless it is on record."""
    if step < run.steps_recorded:
        return
    intent, receipt = run.ledger.update(step)
    batch = run.files.read_sampled(intent)
    if batch is None:
        raise StackError(f"what was sampled for step {step} is gone from {run.files.sampled}; put it back")
    measured, canary = await run.measure(receipt.adapter, step)
    require_enough(f"step {step}", measured.counts, run.config.fail_on_error, measured.rollouts)
    require_canary(f"step {step}", canary, run.config.fail_on_error, baseline=False)
    rollouts = [*batch.transcripts, *(intent.user or ()), *measured.rollouts]
    run.record(
        StepRecord(
            preference=run.track.preference.name,
            step=step,
            timestamp=utc_now(),
            adapter=receipt.adapter,
            canary=canary,
            feedback_given=intent.feedback,
            feedback_by_answer=intent.feedback_by_answer,
            fell_silent=intent.fell_silent,
            prompts=intent.prompts,
            responses=intent.responses,
            rollout_ids=intent.rollout_ids,
            sdpo_metrics=receipt.sdpo_metrics,
            lost_metrics=receipt.lost_metrics,
            eval=measured.values,
            counts=update_counts(batch.transcripts, intent.user, receipt.sdpo_metrics, receipt.lost_metrics)
            | measured.counts,
            rollouts=rollouts,
            timing_s={"sample": intent.sample_s, "update": receipt.update_s, "measure": measured.seconds},
            tokens=tokens(rollouts) | update_tokens(receipt.sdpo_metrics),
        )
    )


async def _prepare_update(run: TrackRun, step: int) -> Intent:
    """Sample the batch of `step`, and write it and the intent to train on it to disk."""
    config, adapter, started = run.config, run.newest(), time.monotonic()
    items = run.track.rounds[step]
    source = run.baseline.adapter if run.track.samples_base and run.baseline is not None else None
    subject = replace(run.subject(source or adapter, step), urgent=True)  # the next update waits for it
    batch = await sample(subject, step, items, config.temperature)
    require_answers(batch, every=config.fail_on_error is True)
    subject, sample_s = run.subject(adapter, step), time.monotonic() - started
    intent = await intent_to_train(run.user, subject, run.track, batch, run.ledger.intents(), run.key(step), sample_s)
    require_heard(intent)
    intent = intent.model_copy(update={"sampled_from": source})
    run.files.write_sampled(batch)
    run.ledger.write(intent)
    return intent


async def sample(subject: Subject, step: int, items: Round, temperature: float) -> SampledBatch:
    """Ask the subject the prompts of one step, all concurrently."""
    asked = await together(
        subject.answer(SAMPLED, str(index), item.prompt, temperature=temperature) for index, item in enumerate(items)
    )
    return SampledBatch(step=step, transcripts=[transcript for transcript, _ in asked])


def update_counts(
    sampled: Sequence[Transcript],
    heard: Sequence[Transcript] | None,
    metrics: Mapping[str, float],
    lost: Mapping[str, str] | None,
) -> dict[str, Counts]:
    """How the answers ended that were asked for an update, and the replies of a model that plays the user, of which
    those are lost that cannot be read; and, where some cannot be, the numbers that the update reported."""
    counts = {SAMPLED: counted(sampled)}
    if heard:
        read = sum(each.verdict is not None and each.verdict["satisfied"] is not None for each in heard)
        counts[USER] = Counts(planned=len(heard), scored=read, errored=len(heard) - read)
    if lost:
        counts["update"] = Counts(planned=len(metrics) + len(lost), scored=len(metrics), errored=len(lost))
    return counts


def require_answers(batch: SampledBatch, *, every: bool) -> None:
    """Raise `StackError` if all answers of a batch were lost or, with `every`, if any was."""
    lost = [transcript for transcript in batch.transcripts if transcript.error is not None]
    if not batch.answered or (every and lost):
        raise StackError(
            f"step {batch.step}: {len(lost)} of {len(batch.transcripts)} sampled answers were lost: {lost[0].error}"
        )


def require_heard(intent: Intent) -> None:
    """Raise `StackError` if the model that plays the user replied to none of a batch."""
    heard = intent.user or ()
    if heard and all(each.error is not None for each in heard):
        raise StackError(f"step {intent.step}: all {len(heard)} replies of the user were lost: {heard[0].error}")


async def intent_to_train(
    user: SimulatedUser,
    subject: Subject,
    track: Track,
    batch: SampledBatch,
    earlier: Sequence[Intent],
    key: str,
    sample_s: float,
) -> Intent:
    """The update that a batch leads to: the user's feedback on the answers that arrived, as the user saw them.

    Answers without feedback are not trained on. `earlier` are the intents of earlier rounds.
    """
    remarks = await user.remarks(subject, track, batch, earlier)
    told = [remark for remark in remarks if remark.feedback is not None]
    feedback = [remark.feedback or "" for remark in told]
    trained_as = [remark.item.answers for remark in told]
    alike = len(set(feedback)) <= 1
    intent = Intent(
        step=batch.step,
        key=key,
        timestamp=utc_now(),
        adapter=subject.adapter,
        feedback=next(iter(feedback), None) if alike else None,
        feedback_by_answer=None if alike else feedback,
        user=[remark.heard for remark in remarks if remark.heard is not None] or None,
        prompts=[remark.answer.prompt for remark in told],
        responses=[visible(remark.answer.response or "") for remark in told],
        rollout_ids=[remark.answer.rollout_id or "" for remark in told],
        answers=[remark.item.answers or remark.answer.prompt for remark in told] if any(trained_as) else None,
        sample_s=sample_s,
    )
    return intent.model_copy(update={"fell_silent": user.leaves(track, [*earlier, intent])})


def silent_receipt(intent: Intent) -> Receipt:
    """The receipt of a round without feedback: nothing was trained."""
    return Receipt(
        step=intent.step,
        key=intent.key,
        timestamp=utc_now(),
        adapter=intent.adapter,
        sdpo_metrics={},
        stack_ms={},
        update_s=0.0,
    )


def feedback_items(intent: Intent, training: TrainingConfig) -> list[FeedbackItem]:
    """The batch of an intent in the form that the stack takes; it is the same each time it is sent."""
    return [
        FeedbackItem(
            lora_id=intent.adapter.lora_id,
            prompt=prompt,
            response=response,
            feedback=feedback,
            training=training,
            rollout_id=rollout_id,
            conversation=None if answered is None else [ChatMessage(role="user", content=answered)],
        )
        for prompt, response, feedback, rollout_id, answered in zip(
            intent.prompts,
            intent.responses,
            intent.said,
            intent.rollout_ids,
            intent.answers or [None] * len(intent.prompts),
            strict=True,
        )
    ]


async def _both_to_their_ends(update: Coroutine[Any, Any, None], measurement: Coroutine[Any, Any, None]) -> None:
    """Run both to their ends before raising, so that a failed update does not discard a measurement under way.

    `WrongWeights` takes precedence over other errors, which may be its consequences.
    """
    outcomes = await asyncio.gather(update, measurement, return_exceptions=True)
    for failure in sorted(filter(None, outcomes), key=lambda failure: not isinstance(failure, WrongWeights)):
        raise failure
