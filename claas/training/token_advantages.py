"""SDPO where only sampled tokens have log probabilities: per-token advantages of a policy gradient.

At `alpha = 1` the SDPO gradient is the policy gradient with the advantage log teacher - log student (see
`claas.training.sdpo.divergence`); over the sampled token alone, that is what a service can be asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from claas.core.errors import InvalidInput
from claas.training.example import TrainingExample

TARGET_ABS_MEAN = 0.03
"""Mean |advantage|, in nats, that weak signals are raised to."""

MOST_GAIN = 4.0
"""How far they are raised at most; strong signals stay as they are."""


@dataclass(frozen=True)
class Judged:
    """One response of T tokens under three models: log probabilities in nats."""

    sampling: tuple[float, ...]  # (T,), as it was sampled
    student: tuple[float, ...]  # (T,), the weights that will be trained
    teacher: tuple[float, ...]  # (T,), the base model that knows the feedback

    def __post_init__(self) -> None:
        if not len(self.sampling) == len(self.student) == len(self.teacher) > 0:
            raise InvalidInput(
                f"a response has {len(self.sampling)} sampled, {len(self.student)} student and {len(self.teacher)} "
                "teacher log probabilities; they must be as many, and not none"
            )
        if not all(map(math.isfinite, (*self.sampling, *self.student, *self.teacher))):
            raise InvalidInput("the log probabilities of a response must be finite")


@dataclass(frozen=True)
class Datum:
    """One sequence as a policy-gradient loss reads it: position i of `input_ids` predicts `target_ids[i]`.

    Logprobs and advantages are 0 where the target belongs to the prompt. To cross-entropy, `advantages` are weights.
    """

    input_ids: tuple[int, ...]  # (L,), prompt and response without the last token
    target_ids: tuple[int, ...]  # (L,), the same without the first
    logprobs: tuple[float, ...]  # (L,), as sampled
    advantages: tuple[float, ...]  # (L,)


@dataclass(frozen=True)
class Advantages:
    """The data of one batch, and what is known about it.

    `metrics`, all over the batch's response tokens: `kl_mean` is the mean of student - teacher, the k1 estimate of
    KL(student ‖ teacher) in nats; `adv_abs_mean_raw` the mean of its absolute value; `kl_gain` what it was multiplied
    by, and `effective_kl_coef` the coefficient of the KL that this makes; `adv_mean` and `adv_abs_mean` are the
    advantages as trained on; `mean_is_ratio` is student / sampler before the first optimiser step, after clipping, and
    `clip_fraction` the share of tokens that were clipped; `completion_len` the mean tokens of a response.
    """

    data: tuple[Datum, ...]
    metrics: Mapping[str, float]


def advantages(examples: Sequence[TrainingExample], judged: Sequence[Judged], is_clip: float) -> Advantages:
    """gain · (teacher - student) per token, with the gain that raises its mean absolute value to `TARGET_ABS_MEAN`.

    The gain is at least 1 and at most `MOST_GAIN`. The loss multiplies each by the ratio student / sampler, which has
    no bound of its own: where it exceeds `is_clip` at the start, the advantage is divided by the excess.
    """
    gaps = [_gaps(one) for one in judged]
    raw = fmean(abs(gap) for row in gaps for gap in row)
    gain = adaptive_gain(raw)
    ratios = [[math.exp(a - b) for a, b in zip(one.student, one.sampling, strict=True)] for one in judged]
    rows = [
        [gain * gap * min(1.0, is_clip / ratio) for gap, ratio in zip(gap_row, ratio_row, strict=True)]
        for gap_row, ratio_row in zip(gaps, ratios, strict=True)
    ]
    flat, flat_ratios = [value for row in rows for value in row], [ratio for row in ratios for ratio in row]
    metrics = {
        "adv_mean": fmean(flat),
        "adv_abs_mean": fmean(map(abs, flat)),
        "adv_abs_mean_raw": raw,
        "kl_mean": -fmean(gap for row in gaps for gap in row),
        "kl_gain": gain,
        "effective_kl_coef": gain,
        "mean_is_ratio": fmean(min(ratio, is_clip) for ratio in flat_ratios),
        "clip_fraction": fmean(ratio > is_clip for ratio in flat_ratios),
        "completion_len": len(flat) / len(examples),
        "tokens_processed": float(len(flat)),
        "batch_size": float(len(examples)),
    }
    return Advantages(tuple(map(datum, examples, rows)), metrics)


def as_they_are(examples: Sequence[TrainingExample]) -> Advantages:
    """The answers to be learned as they are: every token of a response has weight 1."""
    tokens = sum(len(example.token_ids) for example in examples)
    metrics = {
        "completion_len": tokens / len(examples),
        "tokens_processed": float(tokens),
        "batch_size": float(len(examples)),
    }
    return Advantages(tuple(datum(each, (1.0,) * len(each.token_ids)) for each in examples), metrics)


def adaptive_gain(abs_mean: float) -> float:
    """What weak advantages are multiplied by: 1 to `MOST_GAIN`, so that their mean absolute value nears the target."""
    if abs_mean == 0.0:
        return 1.0
    return min(max(TARGET_ABS_MEAN / abs_mean, 1.0), MOST_GAIN)


def datum(example: TrainingExample, row: Sequence[float]) -> Datum:
    """`example` with its advantages (T,), shifted by one: the last prompt token predicts the first of the response.

    >>> datum(TrainingExample((5, 6), (5,), (7, 8), (-1.0, -2.0)), (0.5, -0.5))
    Datum(input_ids=(5, 6, 7), target_ids=(6, 7, 8), logprobs=(0.0, -1.0, -2.0), advantages=(0.0, 0.5, -0.5))
    """
    whole = (*example.prompt_ids, *example.token_ids)
    prompt = (0.0,) * (len(example.prompt_ids) - 1)
    return Datum(whole[:-1], whole[1:], (*prompt, *example.logprobs), (*prompt, *row))


def _gaps(judged: Judged) -> list[float]:
    return [teacher - student for teacher, student in zip(judged.teacher, judged.student, strict=True)]
