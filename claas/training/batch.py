"""Alignment: which position of which padded row predicts which response token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from claas.training.example import TrainingExample

_PADDING_ID = 0


@dataclass(frozen=True)
class Sequences:
    """Right-padded rows of prompt + response, without the last token, which predicts nothing. B rows of length L."""

    input_ids: Tensor  # (B, L)
    attention_mask: Tensor  # (B, L), 1 for tokens and 0 for padding
    predicts: Tensor  # (B, L), True where the logits predict a response token; N of them, row by row


@dataclass(frozen=True)
class Batch:
    """The examples of one forward pass. N = response tokens of all examples, in the order of the examples."""

    student: Sequences
    teacher: Sequences
    token_ids: Tensor  # (N,)
    sampling_logprobs: Tensor  # (N,)

    @property
    def response_tokens(self) -> int:
        """N."""
        return len(self.token_ids)


def align(examples: Sequence[TrainingExample], device: torch.device) -> Batch:
    """The tensors of `examples`: the same responses after the student's prompts and after the teacher's."""
    return Batch(
        student=pad([(example.prompt_ids, example.token_ids) for example in examples], device),
        teacher=pad([(example.teacher_prompt_ids, example.token_ids) for example in examples], device),
        token_ids=torch.tensor([token for example in examples for token in example.token_ids], device=device),
        sampling_logprobs=torch.tensor(
            [logprob for example in examples for logprob in example.logprobs], dtype=torch.float32, device=device
        ),
    )


def pad(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], device: torch.device) -> Sequences:
    """Right-pad (prompt, response) pairs; right, so that positions count from 0 in every row."""
    rows = [[*prompt, *response[:-1]] for prompt, response in pairs]
    shape = (len(rows), max(map(len, rows)))
    input_ids = torch.full(shape, _PADDING_ID)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    predicts = torch.zeros(shape, dtype=torch.bool)
    for index, (row, (prompt, _)) in enumerate(zip(rows, pairs, strict=True)):
        input_ids[index, : len(row)] = torch.tensor(row)
        attention_mask[index, : len(row)] = 1
        predicts[index, len(prompt) - 1 : len(row)] = True
    return Sequences(input_ids.to(device), attention_mask.to(device), predicts.to(device))


def micro_batches(
    examples: Sequence[TrainingExample], max_tokens: int, max_response_tokens: int
) -> Iterator[list[TrainingExample]]:
    """Groups of examples of similar length, within both bounds, the first with padding; a longer example goes alone."""
    group: list[TrainingExample] = []
    responses = 0
    for example in sorted(examples, key=lambda example: example.longest):  # so the newest is the longest of its group
        responses += len(example.token_ids)
        if group and ((len(group) + 1) * example.longest > max_tokens or responses > max_response_tokens):
            yield group
            group, responses = [], len(example.token_ids)
        group.append(example)
    if group:
        yield group


def response_logits(model: nn.Module, sequences: Sequences) -> Tensor:
    """The logits (N, V) that predict the response tokens, of a Hugging Face causal LM, PEFT-wrapped or not.

    Prompt and padding never reach the output head, whose logits are the largest tensor of an update. They are cut off
    by a hook on the head, so that whatever the model does to its logits afterwards (scaling, soft-capping) still
    happens. Nothing else may run the model meanwhile.
    """

    def select(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
        hidden: Tensor = inputs[0]  # (B, L, H)
        return (hidden[sequences.predicts.to(hidden.device)].unsqueeze(0),)  # (1, N, H)

    handle = output_head(model).register_forward_pre_hook(select)
    try:
        output = model(input_ids=sequences.input_ids, attention_mask=sequences.attention_mask, use_cache=False)
    finally:
        handle.remove()
    return output.logits[0]


@runtime_checkable
class _Wrapped(Protocol):
    def get_base_model(self) -> nn.Module: ...


@runtime_checkable
class _HasOutputHead(Protocol):
    def get_output_embeddings(self) -> nn.Module: ...


def output_head(model: nn.Module) -> nn.Module:
    """The layer that maps hidden states to logits."""
    base = model.get_base_model() if isinstance(model, _Wrapped) else model
    if not isinstance(base, _HasOutputHead):
        raise TypeError(f"{type(base).__name__} is not a causal language model with an output head")
    return base.get_output_embeddings()
