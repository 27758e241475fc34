"""Drift: the KL divergence of the adapter from the base model, on the base model's own answers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from claas.core.checks import in_range
from claas.core.concurrency import together
from claas.core.yaml_files import ConfigDir
from claas.eval.metrics.capability import General
from claas.eval.metrics.metric import Measurement, Subject, counted, mean
from claas.results.evidence import written_logprobs
from claas.results.keys import Key, Question
from claas.results.records import Transcript


@dataclass(frozen=True)
class Drift:
    """Forward KL(base || adapter) per token, in nats, from answers that the base model wrote once, at baseline.

    They are sampled at temperature 1, because the expectation is under the base distribution p. With q the adapter's,
    and r = log q - log p of a token: k1 = mean(-r) and k3 = mean(exp(r) - 1 - r), over all tokens pooled. Both have
    the expectation KL(p || q); k3 is never negative and varies less. See Schulman, "Approximating KL Divergence". The
    same texts are scored at every step, so steps are compared like with like.

    `kl_k1` and `kl_k3` are on-task, of answers to the preference's probe prompts. `off_task_kl_k1` and
    `off_task_kl_k3` are of answers to `off_task_prompts`, which have nothing to do with the preference; they are
    absent without such prompts. At most `max_prompts` probe prompts are answered, and all off-task ones.
    """

    keys: ClassVar[tuple[Key, ...]] = (
        Key(
            key="drift.kl_k3",
            title="Drift on task",
            unit="KL(base ‖ adapter), nats per token",
            limits=(0.0, None),
            better="lower",
            question=Question.FORGETTING,
            at_baseline=0.0,
            scale="drift",
        ),
        Key(
            key="drift.off_task_kl_k3",
            title="Drift off task (knowledge prompts)",
            unit="KL(base ‖ adapter), nats per token",
            limits=(0.0, None),
            better="lower",
            question=Question.FORGETTING,
            at_baseline=0.0,
            scale="drift",
        ),
        Key(key="drift.kl_k1", title="Drift on task, the plain estimate", unit="nats per token", better="lower"),
        Key(
            key="drift.off_task_kl_k1",
            title="Drift off task, the plain estimate",
            unit="nats per token",
            better="lower",
        ),
    )

    off_task_prompts: tuple[str, ...] = ()
    max_prompts: int = 12

    def __post_init__(self) -> None:
        in_range("max_prompts", self.max_prompts, 1)

    @classmethod
    def from_suite(
        cls, suite: str = "default", config_dir: ConfigDir = None, off_task: int = 8, max_prompts: int = 12
    ) -> Self:
        """The metric whose off-task prompts are so many of a capability suite's items of knowledge, evenly spread."""
        in_range("off_task", off_task, 0)
        items = [item for item in General.from_suite(suite, config_dir).items if item.form is None]
        most = min(len(items), off_task)
        return cls(tuple(items[i * len(items) // most].prompt for i in range(most)), max_prompts)

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At every step: it only scores."""
        return True

    async def measure(self, subject: Subject) -> Measurement:
        """Write and score the answers at baseline; score them again at a step."""
        on_task = subject.preference.probe_prompts[: self.max_prompts]
        on, off = await together([_asked(subject, "", on_task), _asked(subject, "off_task/", self.off_task_prompts)])
        values = _estimates("kl", _log_ratios(subject, "base/", on))
        if self.off_task_prompts:
            values |= _estimates("off_task_kl", _log_ratios(subject, "off_task/base/", off))
        return Measurement({"drift": values}, {"drift": counted([*on, *off])}, (*on, *off))


async def _asked(subject: Subject, kind: str, prompts: Sequence[str]) -> list[Transcript]:
    """The answers, at baseline alone, and the scores."""
    sampled: list[Transcript] = []
    if subject.baseline is None:
        asked = (
            subject.answer("drift", f"{kind}sample/{i}", prompt, temperature=1.0) for i, prompt in enumerate(prompts)
        )
        sampled = [transcript for transcript, _ in await together(asked)]
    return [*sampled, *await frozen_scores(subject, "drift", f"{kind}base/", sampled)]


def _log_ratios(subject: Subject, prefix: str, asked: Iterable[Transcript]) -> list[float]:
    """log adapter - log base of every token of the answers that were scored both times."""
    now = frozen(asked, "drift", prefix)
    before = now if subject.baseline is None else frozen(subject.baseline.rollouts, "drift", prefix)
    base = {answer.item: written_logprobs(answer) for answer in before}
    return [new - old for answer in now for new, old in zip(written_logprobs(answer), base[answer.item], strict=True)]


def _estimates(name: str, log_ratios: Sequence[float]) -> dict[str, float | None]:
    return {
        f"{name}_k1": mean(-r for r in log_ratios),
        f"{name}_k3": mean(math.expm1(r) - r for r in log_ratios),
    }


async def frozen_scores(subject: Subject, metric: str, prefix: str, written: Sequence[Transcript]) -> list[Transcript]:
    """The scores of one metric's frozen answers, as transcripts of the items `{prefix}{i}`.

    At baseline the sampled answers `written` are scored and frozen; at later steps the same texts are scored again, and
    `written` is ignored. Lost or empty answers are not frozen. A score with another number of tokens than at baseline
    counts as lost, because the tokens differ.
    """
    if subject.baseline is None:
        sampled = [(f"{prefix}{i}", answer) for i, answer in enumerate(written) if answer.response]
        return await together(_score(subject, metric, item, answer) for item, answer in sampled)
    return await together(_score_again(subject, before) for before in frozen(subject.baseline.rollouts, metric, prefix))


def frozen(rollouts: Iterable[Transcript], metric: str, prefix: str) -> list[Transcript]:
    """The frozen answers of a metric among these transcripts, without those whose score was lost."""
    return [
        rollout
        for rollout in rollouts
        if rollout.metric == metric and rollout.item.startswith(prefix) and rollout.error is None
    ]


async def _score(subject: Subject, metric: str, item: str, answer: Transcript) -> Transcript:
    messages = ({"role": "user", "content": answer.prompt},)
    transcript, _ = await subject.score(metric, item, messages, answer.response or "")
    return transcript.model_copy(update={"finish_reason": answer.finish_reason})


async def _score_again(subject: Subject, before: Transcript) -> Transcript:
    transcript = await _score(subject, before.metric, before.item, before)
    now, then = len(transcript.logprobs or ()), len(before.logprobs or ())
    if transcript.error is not None or now == then:
        return transcript
    lost = {"tokens": None, "logprobs": None, "prompt_tokens": None, "completion_tokens": None}
    return transcript.model_copy(update=lost | {"error": f"{now} tokens, but {then} at baseline"})
