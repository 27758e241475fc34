"""The answers that feedback is given on: which prompts a step asks, what came back, and what is said about it."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from claas.core.concurrency import together
from claas.core.errors import StackError
from claas.core.text import visible
from claas.eval.metric import Subject
from claas.eval.preference import Preference
from claas.eval.records import AdapterRecord
from claas.eval.run.ledger import Intent
from claas.eval.seeds import dealt
from claas.eval.stack import FeedbackOn
from claas.eval.types import PARAPHRASE

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
