"""How far the adapter has moved from the base model on what the base model itself would say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from claas.core.checks import in_range
from claas.core.concurrency import together
from claas.eval.metric import Measurement, Subject
from claas.eval.metrics.tally import counted, mean
from claas.eval.records import Baseline, Transcript


@dataclass(frozen=True)
class Drift:
    """Forward KL(base || adapter) per token, in nats, from answers that the base model wrote once, at baseline.

    They are sampled at temperature 1, because the expectation is under the base distribution. With r = log adapter -
    log base per token: k1 = mean(-r), k3 = mean(exp(r) - 1 - r), over all tokens pooled; see Schulman, "Approximating
    KL Divergence". The same texts are scored at every step, so steps are compared like with like. An answer that hit
    the token bound is read without the end of turn, which the base model did not write.
    """

    max_prompts: int = 12

    def __post_init__(self) -> None:
        in_range("max_prompts", self.max_prompts, 1)

    def due(self, step: int | None, collapse_steps: frozenset[int]) -> bool:
        """At every step: it only scores."""
        return True

    async def measure(self, subject: Subject) -> Measurement:
        """Write and score the answers at baseline; score them again at a step."""
        if subject.baseline is None:
            prompts = subject.preference.probe_prompts[: self.max_prompts]
            written = await together(_write(subject, i, prompt) for i, prompt in enumerate(prompts))
            scored = base = [pair[-1] for pair in written]
            kept = [transcript for pair in written for transcript in pair]
        else:
            base = _frozen(subject.baseline)
            kept = scored = await together(_score_again(subject, answer) for answer in base)
        ratios = [r for now, before in zip(scored, base, strict=True) for r in _log_ratios(now, before)]
        values: dict[str, float | None] = {
            "kl_k1": mean(-r for r in ratios),
            "kl_k3": mean(math.exp(r) - 1.0 - r for r in ratios),
        }
        return Measurement({"drift": values}, {"drift": counted(scored)}, tuple(kept))


async def _write(subject: Subject, index: int, prompt: str) -> tuple[Transcript, ...]:
    """One base-written answer and then its score, or the lost answer alone."""
    sampled, answer = await subject.answer("drift", f"sample/{index}", prompt, temperature=1.0)
    if answer is None:
        return (sampled,)
    messages = ({"role": "user", "content": prompt},)
    scored, _ = await subject.score("drift", f"base/{index}", messages, answer.text)
    return sampled, scored.model_copy(update={"finish_reason": answer.finish_reason})


async def _score_again(subject: Subject, base: Transcript) -> Transcript:
    messages = ({"role": "user", "content": base.prompt},)
    transcript, scored = await subject.score("drift", base.item, messages, base.response or "")
    transcript = transcript.model_copy(update={"finish_reason": base.finish_reason})
    length = len(base.logprobs or ())
    if scored is None or len(scored.logprobs) == length:
        return transcript
    return transcript.model_copy(update={"error": f"{len(scored.logprobs)} tokens, but {length} at baseline"})


def _frozen(baseline: Baseline) -> Sequence[Transcript]:
    """The answers written and scored at baseline; what was lost there has been counted there."""
    return [
        transcript
        for transcript in baseline.rollouts
        if transcript.metric == "drift" and transcript.item.startswith("base/") and transcript.error is None
    ]


def _log_ratios(now: Transcript, before: Transcript) -> list[float]:
    """log adapter - log base of every token that the base model wrote; none where either was lost."""
    if now.error is not None or now.logprobs is None or before.logprobs is None:
        return []
    ratios = [new - old for new, old in zip(now.logprobs, before.logprobs, strict=True)]
    return ratios[:-1] if before.finish_reason == "length" else ratios
