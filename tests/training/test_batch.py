"""Batched rows must say exactly what each sequence says alone."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import pytest
import torch
from peft.peft_model import PeftModel
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM

from claas.core.errors import InvalidInput
from claas.training.batch import align, micro_batches, pad, response_logits
from claas.training.example import TrainingExample

CPU = torch.device("cpu")
PAIRS = [([5, 6, 7], [8, 9]), ([10], [11, 12, 13, 14]), ([15, 16, 17, 18, 19], [20])]


def item(prompt: int, response: int) -> TrainingExample:
    return TrainingExample((1,) * prompt, (2,) * (prompt + 3), (3,) * response, (-1.0,) * response)


def alone(model: torch.nn.Module, prompt: list[int], response: list[int]) -> Tensor:
    """The logits (T, V) that predict the response, from one unpadded row and the whole output."""
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0]
    return logits[len(prompt) - 1 : -1]


def test_rows_are_padded_on_the_right_and_the_mask_marks_what_predicts_the_response() -> None:
    rows = pad([([5, 6, 7], [8, 9]), ([10], [11])], CPU)
    assert rows.input_ids.tolist() == [[5, 6, 7, 8], [10, 0, 0, 0]]
    assert rows.attention_mask.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert rows.predicts.tolist() == [[False, False, True, True], [True, False, False, False]]


def test_student_and_teacher_predict_the_same_tokens_after_different_prompts() -> None:
    batch = align(
        [TrainingExample((1, 2), (1, 2, 3), (4, 5), (-0.5, -1.5)), TrainingExample((6,), (7, 8), (9,), (-2.5,))], CPU
    )
    assert batch.token_ids.tolist() == [4, 5, 9]
    assert batch.sampling_logprobs.tolist() == [-0.5, -1.5, -2.5]
    assert batch.student.input_ids.tolist() == [[1, 2, 4], [6, 0, 0]]
    assert batch.teacher.input_ids.tolist() == [[1, 2, 3, 4], [7, 8, 0, 0]]
    assert batch.student.predicts.sum() == batch.teacher.predicts.sum() == batch.response_tokens == 3


@pytest.mark.parametrize("wrapped", [True, False])
def test_batched_logits_are_those_of_each_sequence_alone(adapted: Callable[[], PeftModel], wrapped: bool) -> None:
    model = adapted().double()
    model = model if wrapped else model.get_base_model()
    expected = torch.cat([alone(model, *pair) for pair in PAIRS])
    torch.testing.assert_close(response_logits(model, pad(PAIRS, CPU)), expected, rtol=1e-10, atol=1e-10)


def test_what_a_model_does_to_its_logits_is_kept() -> None:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=16,
        final_logit_softcapping=0.01,
    )
    model = Gemma2ForCausalLM(config).eval()
    expected = torch.cat([alone(model, *pair) for pair in PAIRS])
    logits = response_logits(model, pad(PAIRS, CPU))
    assert logits.abs().max() <= 0.01
    torch.testing.assert_close(logits, expected)


def test_the_model_is_whole_again_afterwards(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    before = model(input_ids=torch.tensor([[1, 2, 3]])).logits
    response_logits(model, pad(PAIRS, CPU))
    assert torch.equal(model(input_ids=torch.tensor([[1, 2, 3]])).logits, before)


def test_the_tokens_of_the_padding_change_nothing_and_get_no_gradient(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    embeddings = model.get_input_embeddings().weight.requires_grad_()
    rows = pad(PAIRS, CPU)
    other = replace(rows, input_ids=rows.input_ids.masked_fill(rows.attention_mask == 0, 39))
    logits = response_logits(model, rows)
    assert torch.equal(logits, response_logits(model, other))
    logits.logsumexp(-1).sum().backward()
    assert torch.equal(embeddings.grad[0], torch.zeros(16))
    assert embeddings.grad[5].any()


def test_tokens_after_a_response_token_do_not_reach_it(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    short = response_logits(model, pad([([5, 6], [7, 8])], CPU))
    longer = response_logits(model, pad([([5, 6], [7, 8, 9, 10])], CPU))
    torch.testing.assert_close(longer[:2], short)


@pytest.mark.parametrize("responses", [100, 8])
def test_groups_stay_within_the_budget_and_lose_no_item(responses: int) -> None:
    items = [item(prompt, response) for prompt, response in [(5, 5), (1, 1), (20, 9), (2, 3), (4, 4)]]
    groups = list(micro_batches(items, 30, responses))
    assert sorted(map(id, chain(*groups))) == sorted(map(id, items))
    assert all(len(group) * max(each.longest for each in group) <= 30 for group in groups[:-1])
    assert all(sum(len(each.token_ids) for each in group) <= responses for group in groups[:-1])
    assert groups[-1] == [items[2]]  # longer than the budget, so alone


def test_a_large_budget_makes_one_group() -> None:
    assert len(list(micro_batches([item(3, 2)] * 9, 1000, 1000))) == 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (((), (1,), (2,), (-1.0,)), "empty"),
        (((1,), (), (2,), (-1.0,)), "empty"),
        (((1,), (1,), (), ()), "empty"),
        (((1,), (1,), (2, 3), (-1.0,)), "2 response tokens but 1 logprobs"),
        (((1,), (1,), (2,), (float("nan"),)), "finite, got nan"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: tuple, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TrainingExample(*parts)
