"""Laws of the divergence, for any pair of distributions."""

from math import log
from random import Random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from claas.training.sdpo import bucket_logprobs, divergence, k3

TOLERANCE = 1e-9

law = settings(deadline=None, max_examples=60)  # a busy machine is slow, not wrong

inner = st.floats(0.001, 0.999)
alphas = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), inner)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    size = draw(st.integers(2, 8))
    logits = st.lists(st.floats(-30, 30), min_size=size, max_size=size)
    student, teacher = (torch.tensor([draw(logits)], dtype=torch.float64).log_softmax(-1) for _ in range(2))
    return student, teacher  # (1, V) each


@law
@given(pairs(), alphas)
def test_it_is_never_negative(pair: tuple[Tensor, Tensor], alpha: float) -> None:
    assert divergence(*pair, alpha).item() >= -TOLERANCE


@law
@given(pairs(), inner)
def test_between_the_ends_it_is_at_most_the_entropy_of_alpha(pair: tuple[Tensor, Tensor], alpha: float) -> None:
    entropy = -alpha * log(alpha) - (1 - alpha) * log(1 - alpha)
    assert divergence(*pair, alpha).item() <= entropy + TOLERANCE <= log(2) + TOLERANCE


@law
@given(pairs(), alphas)
def test_swapping_student_and_teacher_mirrors_alpha(pair: tuple[Tensor, Tensor], alpha: float) -> None:
    student, teacher = pair
    mirrored = divergence(teacher, student, 1.0 - alpha)
    torch.testing.assert_close(divergence(student, teacher, alpha), mirrored, rtol=1e-6, atol=TOLERANCE)


@law
@given(pairs())
def test_at_one_half_it_is_symmetric(pair: tuple[Tensor, Tensor]) -> None:
    student, teacher = pair
    torch.testing.assert_close(divergence(student, teacher, 0.5), divergence(teacher, student, 0.5))


@law
@given(pairs(), alphas, st.randoms())
def test_the_order_of_the_vocabulary_does_not_matter(pair: tuple[Tensor, Tensor], alpha: float, random: Random) -> None:
    student, teacher = pair
    order = list(range(student.shape[-1]))
    random.shuffle(order)
    shuffled = divergence(student[:, order], teacher[:, order], alpha)
    torch.testing.assert_close(shuffled, divergence(student, teacher, alpha), rtol=1e-9, atol=TOLERANCE)


@law
@given(pairs(), alphas, st.integers(1, 8))
def test_merging_tokens_into_a_bucket_never_adds_divergence(
    pair: tuple[Tensor, Tensor], alpha: float, top_k: int
) -> None:
    student, teacher = pair
    indices = teacher.topk(min(top_k, teacher.shape[-1])).indices
    bucketed = divergence(bucket_logprobs(student, indices), bucket_logprobs(teacher, indices), alpha)
    assert bucketed.item() <= divergence(student, teacher, alpha).item() + TOLERANCE


@law
@given(pairs(), st.integers(1, 8))
def test_the_buckets_sum_to_one(pair: tuple[Tensor, Tensor], top_k: int) -> None:
    student, teacher = pair
    indices = teacher.topk(min(top_k, teacher.shape[-1])).indices
    total = bucket_logprobs(student, indices).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


@law
@given(pairs())
def test_k3_is_never_negative(pair: tuple[Tensor, Tensor]) -> None:
    assert (k3(*pair) >= 0).all()
