"""The metric interface: what a metric may look at, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from claas.eval.preference import Preference
from claas.eval.records import Baseline, Counts, Transcript, Values
from claas.eval.seeds import seed_for
from claas.eval.stack import Adapter, Answer, LostAnswer, Scored, Stack


@dataclass(frozen=True)
class Subject:
    """One adapter version under one preference, and the only door to the stack that a metric has.

    `step` is None at baseline. `baseline` is None while it is being measured, and the finished record after.
    """

    stack: Stack
    adapter: Adapter
    preference: Preference
    step: int | None
    baseline: Baseline | None
    run_seed: int
    max_tokens: int

    async def answer(
        self, metric: str, item: str, prompt: str, *, temperature: float = 0.0, top_logprobs: int = 0
    ) -> tuple[Transcript, Answer | None]:
        """Sample one answer. A lost answer comes back as None beside a transcript that says why."""
        seed = seed_for(self.run_seed, self.preference.name, self.step, metric, item)
        asked = Transcript(metric=metric, item=item, prompt=prompt, response=None, temperature=temperature, seed=seed)
        try:
            answer = await self.stack.answer(
                self.adapter,
                prompt,
                temperature=temperature,
                seed=seed,
                max_tokens=self.max_tokens,
                top_logprobs=top_logprobs,
            )
        except LostAnswer as error:
            return asked.model_copy(update={"error": str(error)}), None
        return answered(asked, answer), answer

    async def score(
        self, metric: str, item: str, messages: tuple[Mapping[str, str], ...], completion: str
    ) -> tuple[Transcript, Scored | None]:
        """Score one completion. A lost score comes back as None beside a transcript that says why."""
        asked = Transcript(metric=metric, item=item, prompt=messages[-1]["content"], response=completion)
        try:
            scored = await self.stack.score(self.adapter, messages, completion)
        except LostAnswer as error:
            return asked.model_copy(update={"error": str(error)}), None
        found = {"logprobs": list(scored.logprobs), "prompt_tokens": scored.prompt_tokens}
        return asked.model_copy(update=found | {"completion_tokens": len(scored.logprobs)}), scored


def answered(asked: Transcript, answer: Answer) -> Transcript:
    """The transcript of a request that was answered."""
    return asked.model_copy(
        update={
            "response": answer.text,
            "finish_reason": answer.finish_reason,
            "rollout_id": answer.rollout_id,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "mean_entropy": answer.mean_entropy,
        }
    )


@dataclass(frozen=True)
class Measurement:
    """What one metric found: values by key, how its measurements ended, and the transcripts behind them."""

    values: Values
    counts: Mapping[str, Counts]
    rollouts: tuple[Transcript, ...] = field(default_factory=tuple)


class Metric(Protocol):
    """One question asked of an adapter version."""

    def due(self, step: int | None, collapse_steps: frozenset[int]) -> bool:
        """Whether to measure at this step; None is the baseline."""
        ...

    async def measure(self, subject: Subject) -> Measurement:
        """Measure. Lost answers are counted, not raised; `StackError` means the stack is gone."""
        ...
