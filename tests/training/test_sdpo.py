"""Values worked out by hand, gradients against finite differences, and the numerically nasty corners."""

from math import exp, log

import pytest
import torch
from torch import Tensor

from claas.training.sdpo import (
    SdpoLoss,
    TeacherTarget,
    bucket_logprobs,
    divergence,
    k3,
    sdpo_loss,
    teacher_target,
    token_logprobs,
)

TEACHER = (1 / 2, 1 / 4, 1 / 4)
STUDENT = (1 / 8, 1 / 8, 3 / 4)
FORWARD = 1 / 2 * log(4) + 1 / 4 * log(2) + 1 / 4 * log(1 / 3)
REVERSE = 1 / 8 * log(1 / 4) + 1 / 8 * log(1 / 2) + 3 / 4 * log(3)


def logs(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()  # (1, V)


def kl(p: tuple[float, ...], q: tuple[float, ...]) -> float:
    return sum(a * log(a / b) for a, b in zip(p, q, strict=True))


def loss_of(
    student: Tensor, teacher: Tensor, *, top_k: int = 100, sampling: Tensor | None = None, token: int = 0, **settings
) -> SdpoLoss:
    tokens = torch.full((len(student),), token)
    if sampling is None:
        sampling = token_logprobs(student.detach(), tokens)
    settings = {"alpha": 0.5, "is_clip": 5.0} | settings
    return sdpo_loss(student, tokens, sampling, teacher_target(teacher.detach(), top_k), **settings)


def test_alpha_0_is_forward_kl() -> None:
    assert loss_of(logs(*STUDENT), logs(*TEACHER), alpha=0.0).distill_loss == pytest.approx(FORWARD)


def test_alpha_1_is_reverse_kl() -> None:
    assert loss_of(logs(*STUDENT), logs(*TEACHER), alpha=1.0).distill_loss == pytest.approx(REVERSE)


def test_alpha_half_is_the_jensen_shannon_divergence() -> None:
    middle = (5 / 16, 3 / 16, 1 / 2)
    expected = 1 / 2 * kl(TEACHER, middle) + 1 / 2 * kl(STUDENT, middle)
    assert loss_of(logs(*STUDENT), logs(*TEACHER), alpha=0.5).distill_loss == pytest.approx(expected)


def test_in_between_alpha_is_the_teachers_share_of_the_mixture() -> None:
    mixture = tuple(0.3 * t + 0.7 * s for t, s in zip(TEACHER, STUDENT, strict=True))
    expected = 0.3 * kl(TEACHER, mixture) + 0.7 * kl(STUDENT, mixture)
    loss = loss_of(logs(*STUDENT), logs(*TEACHER), alpha=0.3)
    assert loss.distill_loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("alpha", "limit"), [(1e-6, FORWARD), (1 - 1e-6, REVERSE)])
def test_rescaled_the_divergence_tends_to_the_kl_of_the_nearer_end(alpha: float, limit: float) -> None:
    value = divergence(logs(*STUDENT), logs(*TEACHER), alpha).item()
    assert value / (alpha * (1 - alpha)) == pytest.approx(limit, rel=1e-4)
    assert value < 1e-6  # not rescaled, it vanishes


def test_tokens_beyond_the_top_k_share_one_bucket() -> None:
    student, teacher = logs(0.1, 0.2, 0.3, 0.4), logs(0.4, 0.3, 0.2, 0.1)
    expected = kl((0.4, 0.3, 0.3), (0.1, 0.2, 0.7))
    assert loss_of(student, teacher, top_k=2, alpha=0.0).distill_loss == pytest.approx(expected)


def test_the_top_k_are_the_teachers_not_the_students() -> None:
    target = teacher_target(logs(0.1, 0.5, 0.4), 2)
    assert target.indices.tolist() == [[1, 2]]
    torch.testing.assert_close(target.logprobs.exp(), torch.tensor([[0.5, 0.4, 0.1]], dtype=torch.float64))


@pytest.mark.parametrize("top_k", [3, 4, 100])
def test_a_top_k_that_covers_the_vocabulary_needs_no_bucket(top_k: int) -> None:
    assert teacher_target(logs(*TEACHER), top_k).logprobs.shape == (1, 3)


def test_the_importance_ratio_weighs_each_token_and_is_clipped_above() -> None:
    student, teacher = logs(*STUDENT).repeat(3, 1), logs(*TEACHER).repeat(3, 1)
    sampling = torch.tensor([1, 1 / 16, 1 / 64], dtype=torch.float64).log()  # ratios 1/8, 2, 8 clipped to 4
    loss = loss_of(student, teacher, sampling=sampling, alpha=0.0, is_clip=4.0)
    assert loss.mean_is_ratio == pytest.approx(6.125 / 3)
    assert loss.clip_fraction == pytest.approx(1 / 3)
    assert loss.distill_loss == pytest.approx(FORWARD * 6.125 / 3)


def test_a_token_the_sampler_all_but_excluded_cannot_blow_up_the_loss() -> None:
    loss = loss_of(logs(*STUDENT), logs(*TEACHER), sampling=torch.tensor([-1e30]), alpha=0.0, is_clip=2.0)
    assert loss.distill_loss == pytest.approx(2 * FORWARD)


def test_the_regulariser_is_the_k3_estimate_at_the_sampled_token() -> None:
    base = torch.tensor([1 / 2], dtype=torch.float64).log()  # 4 times the student's 1/8
    loss = loss_of(logs(*STUDENT), logs(*TEACHER), kl_reg_weight=0.5, base_logprobs=base)
    assert loss.kl_reg == pytest.approx(0.5 * (4 - 1 - log(4)))
    assert loss.total.item() == pytest.approx(loss.distill_loss + loss.kl_reg)


def test_k3_is_unbiased() -> None:
    student, base = logs(*STUDENT), logs(*TEACHER)
    assert (student.exp() * k3(student, base)).sum().item() == pytest.approx(REVERSE)


def test_the_regulariser_needs_the_base_model() -> None:
    with pytest.raises(ValueError, match="base_logprobs"):
        loss_of(logs(*STUDENT), logs(*TEACHER), kl_reg_weight=0.5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("top_k", [10, 50])
def test_an_equal_student_has_exactly_no_loss_and_no_gradient(alpha: float, top_k: int) -> None:
    logits = 5 * torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    student = logits.clone().requires_grad_()
    base = token_logprobs(logits, torch.zeros(6, dtype=torch.long))
    loss = loss_of(student, logits, top_k=top_k, alpha=alpha, kl_reg_weight=1.0, base_logprobs=base)
    loss.total.backward()
    assert loss.total.item() == 0.0
    assert torch.equal(student.grad, torch.zeros(6, 50))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("top_k", [3, 7])
def test_gradients_agree_with_finite_differences(alpha: float, top_k: int) -> None:
    random = torch.Generator().manual_seed(1)
    student = torch.randn(4, 7, dtype=torch.float64, generator=random).requires_grad_()
    teacher = torch.randn(4, 7, dtype=torch.float64, generator=random)
    base = torch.full((4,), -2.0, dtype=torch.float64)
    always_clipped = torch.full((4,), -50.0, dtype=torch.float64)  # the ratio is a constant, as to the gradient

    def total(logits: Tensor) -> Tensor:
        settings = {"alpha": alpha, "kl_reg_weight": 0.3, "base_logprobs": base, "is_clip": 1.5}
        return loss_of(logits, teacher, top_k=top_k, sampling=always_clipped, token=2, **settings).total

    assert torch.autograd.gradcheck(total, (student,))


def test_alpha_1_is_the_policy_gradient_of_the_teachers_log_ratio() -> None:
    student = torch.tensor(STUDENT, dtype=torch.float64).log()[None].requires_grad_()
    loss_of(student, logs(*TEACHER), alpha=1.0).total.backward()
    advantage = [log(t / s) for t, s in zip(TEACHER, STUDENT, strict=True)]
    mean = sum(s * a for s, a in zip(STUDENT, advantage, strict=True))
    expected = [-s * (a - mean) for s, a in zip(STUDENT, advantage, strict=True)]
    torch.testing.assert_close(student.grad, torch.tensor([expected], dtype=torch.float64))


def test_no_gradient_flows_through_the_ratio_or_into_the_teacher() -> None:
    student, teacher = logs(*STUDENT).requires_grad_(), logs(*TEACHER).requires_grad_()
    target = TeacherTarget(torch.tensor([[0, 1, 2]]), teacher)
    half = token_logprobs(student.detach(), torch.tensor([0])) + log(2)
    loss = sdpo_loss(student, torch.tensor([0]), half, target, alpha=1.0, is_clip=5.0)
    loss.total.backward()
    unweighted = logs(*STUDENT).requires_grad_()
    loss_of(unweighted, logs(*TEACHER), alpha=1.0).total.backward()
    torch.testing.assert_close(student.grad, unweighted.grad / 2)
    assert teacher.grad is None


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_certain_distributions_keep_loss_and_gradient_finite(alpha: float, dtype: torch.dtype) -> None:
    certain = torch.zeros(4, 40)
    certain[:, :12] = torch.linspace(100, 300, 12)
    other = certain.flip(-1)  # certain of what the teacher keeps in its bucket
    for logits, teacher in ((certain, certain), (certain, other), (0 * certain, other), (other, 0 * certain)):
        student = logits.to(dtype).requires_grad_()
        loss = loss_of(student, teacher.to(dtype), top_k=10, alpha=alpha)
        loss.total.backward()
        assert loss.total.isfinite()
        assert student.grad.isfinite().all()


def test_the_bucket_is_exact_where_one_minus_the_sum_would_be_zero() -> None:
    logits = torch.tensor([[0.0, -40.0, -41.0]])
    bucket = bucket_logprobs(torch.log_softmax(logits, -1), torch.tensor([[0]]))[0, 1]
    assert bucket.item() == pytest.approx(log(exp(-40) + exp(-41)))


def test_half_precision_is_computed_in_float32_and_double_stays_double() -> None:
    logits = logs(*STUDENT)
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        assert loss_of(logits.to(dtype), logs(*TEACHER).to(dtype)).total.dtype == expected
