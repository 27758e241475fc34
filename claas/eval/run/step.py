"""The loop of a preference: one step after the other, and measuring beside the next update."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from claas.core.concurrency import together
from claas.core.errors import StackError
from claas.core.text import visible
from claas.eval.metrics.metric import Subject, dealt
from claas.eval.metrics.preference import Preference
from claas.eval.run.canary import require_sung
from claas.eval.run.measuring import require_enough, tokens
from claas.eval.run.preference_run import PreferenceRun, begin, pinned, recorded
from claas.eval.stacks.stack import FeedbackOn, WrongWeights
from claas.results.ledger import Intent, Paid
from claas.results.records import AdapterRecord, Counts, StepRecord, Transcript
from claas.results.settings import PARAPHRASE
from claas.results.summary import update_tokens

PURPOSE = "sample"
"""What the transcripts, counts and seeds of sampled answers are called."""


def prompts_of(step: int, batch_size: int, probe_prompts: Sequence[str], run_seed: int, preference: str) -> list[str]:
    """The prompts of one step: every probe prompt once, in a seeded order, before any comes again in another order."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return [dealt(probe_prompts, place, run_seed, preference, "prompt order") for place in places]


def feedback_text(step: int, preference: Preference, variation: str, run_seed: int) -> str:
    """What the user says of every answer of one step: `feedback_string`, or, with `paraphrase`, that or a paraphrase.

    Like the prompts, each is used once, in a seeded order, before any comes again.
    """
    if variation != PARAPHRASE:
        return preference.feedback_string
    texts = (preference.feedback_string, *preference.feedback_paraphrases)
    return dealt(texts, step, run_seed, preference.name, "feedback text")


async def sample(
    subject: Subject, step: int, key: str, feedback: str, batch_size: int, temperature: float, *, every: bool = False
) -> Intent:
    """Sample a step's batch from the subject, as the intent to train on what came, with what is said about it.

    A lost answer is recorded and not trained on. `StackError` when all are lost, or, with `every`, when any is.
    """
    preference, started = subject.preference, time.monotonic()
    prompts = prompts_of(step, batch_size, preference.probe_prompts, subject.run_seed, preference.name)
    asked = await together(
        subject.answer(PURPOSE, str(index), prompt, temperature=temperature) for index, prompt in enumerate(prompts)
    )
    transcripts = [transcript for transcript, _ in asked]
    lost = [transcript for transcript in transcripts if transcript.error is not None]
    if len(lost) == batch_size or (every and lost):
        raise StackError(f"step {step}: {len(lost)} of {batch_size} sampled answers were lost: {lost[0].error}")
    came = [(transcript.prompt, answer) for transcript, answer in asked if answer is not None]
    return Intent(
        step=step,
        key=key,
        timestamp=datetime.now(UTC).isoformat(timespec="milliseconds"),
        adapter=AdapterRecord(
            lora_id=subject.adapter.lora_id, version=subject.adapter.version, digest=subject.adapter.digest
        ),
        feedback=feedback,
        prompts=[prompt for prompt, _ in came],
        responses=[visible(answer.text) for _, answer in came],
        rollout_ids=[answer.rollout_id for _, answer in came],
        sampling=transcripts,
        sample_s=time.monotonic() - started,
    )


def feedback_on(intent: Intent) -> list[FeedbackOn]:
    """The batch of an intent, as it was and as it will be sent again."""
    batch = zip(intent.prompts, intent.responses, intent.rollout_ids, strict=True)
    return [FeedbackOn(prompt, response, rollout_id, intent.feedback) for prompt, response, rollout_id in batch]


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


async def run_preference(run: PreferenceRun) -> None:
    """Take the preference from wherever its records left it to its last planned step.

    `StackError` ends it in a state from which the same call goes on.
    """
    await begin(run)
    for step in range(run.recorded, run.config.num_steps + 1):
        await _both(train(run, step), measure(run, step - 1))


async def _both(update: Coroutine[Any, Any, None], measurement: Coroutine[Any, Any, None]) -> None:
    """Run both to their ends, and only then raise: a failed update does not throw away a measurement under way.

    Wrong weights are raised before anything else, which may well follow from them.
    """
    outcomes = await asyncio.gather(update, measurement, return_exceptions=True)
    for failure in sorted(filter(None, outcomes), key=lambda failure: not isinstance(failure, WrongWeights)):
        raise failure
