"""Collapse: whether the model's answers have lost their diversity, or the model its fluency."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import ClassVar

from claas.core.checks import in_range
from claas.core.concurrency import together
from claas.eval.metrics.drift import frozen_scores
from claas.eval.metrics.metric import Measurement, Subject, counted, mean
from claas.eval.stacks.stack import Answer
from claas.results.evidence import ByItem, by_item, paired
from claas.results.keys import Criterion, Items, Key, Question
from claas.results.records import Baseline, Transcript

_TOP = 20

_FROZEN = "frozen/"
_ENTROPY = Items(metric="collapse", prefix="sample/", value="entropy", cluster="prompts")
_TAIL_MASS = Items(metric="collapse", prefix="sample/", value="tail_mass", cluster="prompts")
_SIMILARITY = Items(metric="collapse", prefix="sample/", value="self_rouge_l", cluster="prompts")
_MEAN_LOGPROB = Items(metric="collapse", prefix=_FROZEN, value="mean_logprob", cluster="prompts")


@dataclass(frozen=True)
class Collapse:
    """Entropy and self-similarity of sampled answers, and how likely the baseline's answers still are.

    The first `max_prompts` of the probe prompts and, after them, the held-out ones are answered `samples` times, each
    with a seed of its own. Each number is the mean over prompts of the mean over a prompt's answers, in nats per token
    where it is one.

    `mean_entropy` is that of the full distribution where the engine tells it, else the sum of -p log p over the 20
    likeliest tokens, a lower bound; baseline decides which, so that the ratio compares like with like. Beside a lower
    bound stands `tail_mass`, the probability in [0, 1] of all other tokens, whose entropy is missing; beside the full
    entropy it is absent. Empty answers count as identical: a model that falls silent has a self-ROUGE-L of 1.

    `mean_logprob` is that of the first answer to each prompt at baseline, frozen and scored again at each version. The
    model's own samples would not do: a model that repeats a single token, or babbles, finds its own text very likely.
    On fixed texts, `mean_logprob` falls by what the model has unlearnt.

    `alert` is 1 when any indicator is beyond its bound, 0 when all are known and within, else None.
    """

    keys: ClassVar[tuple[Key, ...]] = (
        Key(
            key="collapse.entropy_ratio_to_baseline",
            title="Entropy",
            unit="ratio to baseline",
            limits=(0.0, None),
            better="higher",
            question=Question.COLLAPSE,
            at_baseline=1.0,
            axis=(0.0, None),
        ),
        Key(
            key="collapse.mean_entropy",
            title="Mean entropy of sampled answers",
            unit="nats per token",
            limits=(0.0, None),
            question=Question.COLLAPSE,
            items=_ENTROPY,
            criterion=Criterion(
                name="entropy_ratio",
                relation=">",
                threshold=0.6,
                estimator="ratio",
                meaning="mean entropy stays above this fraction of baseline",
                formula="mean entropy / mean entropy at baseline",
                drawn_on="collapse.entropy_ratio_to_baseline",
                alarm=True,
            ),
        ),
        Key(
            key="collapse.self_rouge_l",
            title="Likeness of resampled answers",
            unit="self-ROUGE-L F1",
            limits=(0.0, 1.0),
            better="lower",
            question=Question.COLLAPSE,
            axis=(0.0, 1.03),
            items=_SIMILARITY,
            criterion=Criterion(
                name="self_rouge_l",
                relation="<",
                threshold=0.85,
                estimator="mean",
                meaning="similarity of resampled answers stays below this",
                formula="mean ROUGE-L F1 between a prompt's samples",
                title="self-ROUGE-L",
                alarm=True,
            ),
        ),
        Key(
            key="collapse.mean_logprob_drift",
            title="Drift of the mean logprob",
            unit="|change|, nats per token",
            limits=(0.0, None),
            better="lower",
            question=Question.COLLAPSE,
            at_baseline=0.0,
            axis=(0.0, None),
        ),
        Key(
            key="collapse.mean_logprob",
            title="Mean logprob of the baseline's answers",
            unit="nats per token",
            limits=(None, 0.0),
            question=Question.COLLAPSE,
            items=_MEAN_LOGPROB,
            criterion=Criterion(
                name="mean_logprob_drift",
                relation="<",
                threshold=2.0,
                estimator="shift",
                meaning="the mean logprob moves by less than this, in nats",
                formula="|shift of the mean logprob of baseline's answers|, nats per token",
                drawn_on="collapse.mean_logprob_drift",
                alarm=True,
            ),
        ),
        Key(
            key="collapse.alert",
            title="Whether any indicator of collapse is beyond its bound",
            limits=(0.0, 1.0),
            better="lower",
            alarm="collapse alert",
        ),
        Key(
            key="collapse.entropy_is_lower_bound",
            title="Whether entropies are lower bounds, from the likeliest tokens alone",
            limits=(0.0, 1.0),
        ),
        Key(
            key="collapse.tail_mass",
            title="Probability outside of the likeliest tokens",
            limits=(0.0, 1.0),
        ),
    )

    samples: int = 3
    temperature: float = 0.7
    max_prompts: int = 20
    entropy_ratio_below: float = 0.6
    self_rouge_l_above: float = 0.85
    drift_above: float = 2.0

    def __post_init__(self) -> None:
        in_range("samples", self.samples, 2)
        in_range("temperature", self.temperature, 0.0, 2.0, above=True)
        in_range("max_prompts", self.max_prompts, 1)

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At baseline and at the checkpoints."""
        return step is None or step in checkpoints

    async def measure(self, subject: Subject) -> Measurement:
        """Sample, and compare with baseline."""
        before = _at_baseline(subject.baseline)
        prompts = (*subject.preference.probe_prompts, *subject.preference.heldout_prompts)
        items = [
            (f"sample/{i}/{k}", prompt)
            for i, prompt in enumerate(prompts[: self.max_prompts])
            for k in range(self.samples)
        ]
        asked, bound = await self._asked(subject, items, (before or {}).get("entropy_is_lower_bound"))
        transcripts = [_with_entropy(transcript, answer, bound) for transcript, answer in asked]
        transcripts += await frozen_scores(subject, "collapse", _FROZEN, transcripts[:: self.samples])
        values = {
            "mean_entropy": _over_prompts(by_item(transcripts, _ENTROPY)),
            "entropy_is_lower_bound": None if bound is None else float(bound),
            **({"tail_mass": _over_prompts(by_item(transcripts, _TAIL_MASS))} if bound else {}),
            "self_rouge_l": _over_prompts(await asyncio.to_thread(by_item, transcripts, _SIMILARITY)),
            "mean_logprob": _over_prompts(by_item(transcripts, _MEAN_LOGPROB)),
        }
        values |= self._against(values if before is None else before, values, _moved(transcripts, subject.baseline))
        return Measurement({"collapse": values}, {"collapse": counted(transcripts)}, tuple(transcripts))

    async def _asked(
        self, subject: Subject, items: Sequence[tuple[str, str]], decided: float | None
    ) -> tuple[list[tuple[Transcript, Answer | None]], bool | None]:
        """The answers, and whether their entropies are lower bounds: as at baseline, or as the first answers show.

        The likeliest tokens, many times an answer's size, are asked for only where the entropy has to come from them.
        """

        async def ask(some: Sequence[tuple[str, str]], top: int) -> list[tuple[Transcript, Answer | None]]:
            asking = (
                subject.answer("collapse", *each, temperature=self.temperature, top_logprobs=top) for each in some
            )
            return await together(asking)

        if decided is not None:
            return await ask(items, _TOP if decided else 0), decided == 1.0
        first = await ask(items[:1], _TOP)
        if any(answer is not None and answer.mean_entropy is not None for _, answer in first):
            return first + await ask(items[1:], 0), False
        asked = first + await ask(items[1:], _TOP)
        answers = [answer for _, answer in asked if answer is not None]
        bound = any(answer.mean_entropy is None for answer in answers if answer.logprobs) if answers else None
        return asked, bound

    def _against(
        self, before: Mapping[str, float | None], now: Mapping[str, float | None], drift: float | None
    ) -> dict[str, float | None]:
        """The values relative to baseline, and the alert."""
        was, entropy = before.get("mean_entropy"), now["mean_entropy"]
        ratio = entropy / was if entropy is not None and was else None
        similar = now["self_rouge_l"]
        beyond = [
            None if ratio is None else ratio < self.entropy_ratio_below,
            None if similar is None else similar > self.self_rouge_l_above,
            None if drift is None else drift > self.drift_above,
        ]
        alert = 1.0 if any(beyond) else None if None in beyond else 0.0
        return {"entropy_ratio_to_baseline": ratio, "mean_logprob_drift": drift, "alert": alert}


def _at_baseline(baseline: Baseline | None) -> Mapping[str, float | None] | None:
    """The collapse values of a finished baseline; None while baseline itself is measured."""
    if baseline is None:
        return None
    values = baseline.eval.get("collapse")
    return values if isinstance(values, dict) else {}


def _with_entropy(transcript: Transcript, answer: Answer | None, bound: bool | None) -> Transcript:
    """The transcript with the entropy that this run compares, and likely tokens only where that comes from them."""
    if answer is None:
        return transcript
    entropy = _lower_bound(answer) if bound else answer.mean_entropy
    if not answer.logprobs:
        entropy = None
    kept = {"mean_entropy": entropy, "entropy_is_lower_bound": bound is True}
    return transcript.model_copy(update=kept if bound else kept | {"top_logprobs": None})


def _lower_bound(answer: Answer) -> float | None:
    """Mean over tokens of -p log p summed over the likeliest ones; None when some token has none."""
    if len(answer.top_logprobs) != len(answer.logprobs) or not all(answer.top_logprobs):
        return None
    return mean(sum(-exp(logprob) * logprob for logprob in likeliest) for likeliest in answer.top_logprobs)


def _moved(transcripts: Sequence[Transcript], baseline: Baseline | None) -> float | None:
    """The change of the frozen answers' mean logprob, in nats per token, over those that were scored both times."""
    before = baseline.rollouts if baseline else transcripts
    now, was, _ = paired(by_item(transcripts, _MEAN_LOGPROB), by_item(before, _MEAN_LOGPROB))
    change = mean(new - old for new, old in zip(now, was, strict=True))
    return None if change is None else abs(change)


def _over_prompts(found: ByItem) -> float | None:
    return mean(value for value in found.values() if value is not None)
