"""The SDPO loss: per token, how far the student is from a teacher that has seen the feedback.

Self-Distillation Policy Optimization, Hübotter et al. 2026, arXiv 2601.20802. Shapes: N response tokens, vocabulary V,
K = `teacher_top_k`, B = the number of buckets that `bucket_logprobs` makes: K + 1, or V where K covers the vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TeacherTarget:
    """The teacher's distribution, reduced: its K likeliest tokens one by one, all others as one bucket."""

    indices: Tensor  # (N, K)
    logprobs: Tensor  # (N, B)


@dataclass(frozen=True)
class SdpoLoss:
    """Means over the N response tokens. `total` carries the gradient and equals `distill_loss` + `kl_reg`.

    `distill_loss` is the divergence (nats per token) times the clipped importance ratio, `kl_reg` the weighted
    estimate of KL to the base model, 0 when its weight is. `mean_is_ratio` is the ratio as applied, after
    clipping; `clip_fraction` is the share of tokens whose ratio was clipped.
    """

    total: Tensor  # ()
    distill_loss: float
    kl_reg: float
    mean_is_ratio: float
    clip_fraction: float


def sdpo_loss(
    student_logits: Tensor,  # (N, V)
    token_ids: Tensor,  # (N,)
    sampling_logprobs: Tensor,  # (N,)
    teacher: TeacherTarget,
    *,
    alpha: float,
    is_clip: float,
    kl_reg_weight: float = 0.0,
    base_logprobs: Tensor | None = None,  # (N,)
) -> SdpoLoss:
    """mean over tokens of min(ratio, is_clip) · D_alpha(student, teacher) + kl_reg_weight · k3(student, base).

    ratio = student / sampler at the sampled token; no gradient flows through it. `base_logprobs` are the base
    model's at the sampled tokens, needed where `kl_reg_weight` > 0. Computed in the logits' own precision, at least
    float32.
    """
    logprobs = log_softmax(student_logits)  # (N, V)
    sampled = _at(logprobs, token_ids)  # (N,)
    ratio = (sampled.detach() - sampling_logprobs).exp()  # (N,)
    weight = ratio.clamp(max=is_clip)
    distance = divergence(bucket_logprobs(logprobs, teacher.indices), teacher.logprobs, alpha)  # (N,)
    distill = (weight * distance).mean()
    regularizer = torch.zeros_like(distill)
    if kl_reg_weight > 0:
        if base_logprobs is None:
            raise ValueError("kl_reg_weight > 0 needs base_logprobs")
        regularizer = kl_reg_weight * k3(sampled, base_logprobs).mean()
    return SdpoLoss(
        total=distill + regularizer,
        distill_loss=distill.item(),
        kl_reg=regularizer.item(),
        mean_is_ratio=weight.mean().item(),
        clip_fraction=(ratio > is_clip).float().mean().item(),
    )


def teacher_target(logits: Tensor, top_k: int) -> TeacherTarget:
    """Reduce the teacher's logits (N, V) to its `top_k` tokens and one bucket for the rest. Call without gradient."""
    logprobs = log_softmax(logits)
    indices = logprobs.topk(min(top_k, logits.shape[-1])).indices  # (N, K)
    return TeacherTarget(indices, bucket_logprobs(logprobs, indices))


def token_logprobs(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Log probabilities (N,) of `token_ids` (N,) under `logits` (N, V), in nats."""
    return _at(log_softmax(logits), token_ids)


def divergence(student: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """Generalized Jensen-Shannon divergence over the last axis, in nats; the teacher gets no gradient.

    With m = alpha · teacher + (1 - alpha) · student, and the same weights:

        D_alpha = alpha · KL(teacher ‖ m) + (1 - alpha) · KL(student ‖ m)      0 < alpha < 1
        D_0     = KL(teacher ‖ student)                                        forward KL
        D_1     = KL(student ‖ teacher)                                        reverse KL

    Equation 1 of GKD (Agarwal et al. 2024, arXiv 2306.13649), where alpha is called beta, and the convention of SDPO's
    published code. As there, D_alpha is not rescaled, so it jumps at the ends: it vanishes as alpha nears 0 or 1, while
    D_alpha / (alpha (1 - alpha)) tends to D_0 and D_1. D_alpha is at most log 2.

    At alpha 1, over the whole vocabulary, the gradient is the policy gradient with the logit-level advantage
    log teacher - log student, in expectation over the student's next token.
    """
    teacher = teacher.detach()
    if alpha == 0.0:
        return _kl(teacher, student)
    if alpha == 1.0:
        return _kl(student, teacher)
    # The mixture is the minimiser of this sum, so the gradient through it is zero: detached, it is exactly zero.
    mixture = _log_mixture(student.detach(), teacher, alpha)
    return alpha * _kl(teacher, mixture) + (1.0 - alpha) * _kl(student, mixture)


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Per-token estimate of KL(policy ‖ reference) from the policy's own samples; unbiased and never negative.

    r - 1 - log r with r = reference / policy (Schulman, "Approximating KL divergence", estimator k3).
    """
    log_ratio = reference - logprobs
    return log_ratio.expm1() - log_ratio


def bucket_logprobs(logprobs: Tensor, indices: Tensor) -> Tensor:
    """Log probabilities (N, B) of the tokens `indices` (N, K) and, where K < V, of all other tokens together.

    The rest is summed over the complement, not taken as 1 - sum: that would round to 0 where the K tokens hold nearly
    all the mass, and its logarithm would have no usable gradient.
    """
    top = logprobs.gather(-1, indices)  # (N, K)
    if indices.shape[-1] == logprobs.shape[-1]:
        return top
    rest = logprobs.scatter(-1, indices, -math.inf).logsumexp(-1, keepdim=True)  # (N, 1)
    return torch.cat([top, rest], dim=-1)


def log_softmax(logits: Tensor) -> Tensor:
    """Log probabilities over the last axis, in float32 where the logits are of half precision."""
    half = logits.dtype in (torch.bfloat16, torch.float16)
    return torch.log_softmax(logits.float() if half else logits, dim=-1)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) over the last axis, from log probabilities, as sum(p log(p/q) - p + q).

    The last two terms cancel, both being distributions. With them every summand is at least 0, and the gradient is
    exactly 0 where p equals q, rather than a difference of rounding errors.
    """
    return (p.exp() * (p - q) - p.exp() + q.exp()).sum(-1)


def _log_mixture(student: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """log(alpha · teacher + (1 - alpha) · student); exactly the common value where the two are equal."""
    weight_of_smaller = torch.full_like(teacher, 1.0 - alpha).masked_fill(teacher < student, alpha)
    gap = (teacher - student).abs()
    return torch.maximum(teacher, student) + torch.log1p(weight_of_smaller * torch.expm1(-gap))


def _at(logprobs: Tensor, token_ids: Tensor) -> Tensor:
    return logprobs.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1)  # (N,)
