"""One update of one adapter: a few optimiser steps on one batch, SDPO's against a teacher computed once.

And the state of its optimiser as tensors, so that the next update goes on where it ended.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from claas.core.errors import InvalidInput, StackError
from claas.core.settings import SFT, TrainingConfig
from claas.training.batch import Batch, align, micro_batches, output_head, response_logits
from claas.training.example import TrainingExample
from claas.training.sdpo import TeacherTarget, sdpo_loss, teacher_target, token_logprobs

MAX_TOKENS = 4096
"""Tokens of one forward pass, padding included: bounds the memory of an update, not its result."""

MAX_LOGITS = 2**23
"""Response tokens times vocabulary of one forward pass, likewise."""

MAX_LOGITS_OF_GPU = 2**27
"""The same on a GPU, to which small passes are a waste."""


def run_update(
    model: nn.Module,
    optimizer: Optimizer,
    examples: Sequence[TrainingExample],
    config: TrainingConfig,
    *,
    max_tokens: int = MAX_TOKENS,
    max_logits: int | None = None,
) -> dict[str, float]:
    """Train the active adapter of a PEFT-wrapped causal LM on `examples`; return what is known about it, all finite.

    The teacher is the same model with the adapter disabled, under the teacher's prompts. Items are run in groups of
    `max_tokens` and `max_logits` (None: the device's); the loss is the mean over all response tokens, so the grouping
    does not matter. The learning rate is the optimiser's. The model is left in evaluation mode: nothing here is random.

    `total_loss, distill_loss, kl_reg, mean_is_ratio, clip_fraction` (see `SdpoLoss`) and `grad_norm` (before clipping)
    are means over the optimiser steps; `distill_loss_first` and `distill_loss_last` are those of single steps, each
    before its step; `tokens_processed` is the response tokens of the batch, counted once; `batch_size` the examples;
    `steps_per_batch_applied` the optimiser steps. With the objective `sft` there is no teacher, and `cross_entropy`,
    the mean of -log p over the response tokens, stands in place of the first five.

    Raises `StackError` when a loss or a gradient is not finite, before that step changes a weight. Earlier steps of the
    update then stand in memory, so the caller goes back to the weights it has stored.
    """
    if not examples:
        raise InvalidInput("an update needs at least one item")
    model.eval()
    device = next(model.parameters()).device
    logits = max_logits or (MAX_LOGITS if device.type == "cpu" else MAX_LOGITS_OF_GPU)
    responses = logits // cast(Tensor, output_head(model).weight).shape[0]
    batches = [align(group, device) for group in micro_batches(examples, max_tokens, responses)]
    losses = [(_loss_of(model, batch, config), batch.response_tokens) for batch in batches]
    steps: list[dict[str, float]] = []
    for number in range(1, config.steps_per_batch + 1):
        where = f"optimiser step {number} of {config.steps_per_batch}"
        steps.append(_step(optimizer, losses, config.max_grad_norm, where))
    return _metrics(steps) | {
        "tokens_processed": float(sum(batch.response_tokens for batch in batches)),
        "batch_size": float(len(examples)),
    }


@dataclass(frozen=True)
class _Loss:
    """The mean over a batch's response tokens that carries the gradient, and the means that it is made of."""

    total: Tensor  # ()
    numbers: Mapping[str, float]


_LossNow = Callable[[], _Loss]
"""The loss of one batch under the weights of the moment."""


@runtime_checkable
class _Adapted(Protocol):
    def disable_adapter(self) -> AbstractContextManager[None]: ...


def _loss_of(model: nn.Module, batch: Batch, config: TrainingConfig) -> _LossNow:
    if config.objective == SFT:
        return partial(_cross_entropy, model, batch)
    return partial(_sdpo, model, batch, _targets(model, batch, config), config)


@dataclass(frozen=True)
class _Targets:
    """What the frozen model says about one batch: the same at every optimiser step."""

    teacher: TeacherTarget
    base_logprobs: Tensor | None  # (N,), None where the regulariser is off


def _targets(model: nn.Module, batch: Batch, config: TrainingConfig) -> _Targets:
    if not isinstance(model, _Adapted):
        raise TypeError(f"{type(model).__name__} has no adapter to train: wrap it with peft.get_peft_model")
    with torch.no_grad(), model.disable_adapter():
        teacher = teacher_target(response_logits(model, batch.teacher), config.teacher_top_k)
        base_logprobs = None
        if config.kl_reg_weight > 0:
            base_logprobs = token_logprobs(response_logits(model, batch.student), batch.token_ids)
    return _Targets(teacher, base_logprobs)


def _sdpo(model: nn.Module, batch: Batch, targets: _Targets, config: TrainingConfig) -> _Loss:
    loss = sdpo_loss(
        response_logits(model, batch.student),
        batch.token_ids,
        batch.sampling_logprobs,
        targets.teacher,
        alpha=config.alpha,
        is_clip=config.is_clip,
        kl_reg_weight=config.kl_reg_weight,
        base_logprobs=targets.base_logprobs,
    )
    return _Loss(
        loss.total,
        {
            "total_loss": loss.distill_loss + loss.kl_reg,
            "distill_loss": loss.distill_loss,
            "kl_reg": loss.kl_reg,
            "mean_is_ratio": loss.mean_is_ratio,
            "clip_fraction": loss.clip_fraction,
        },
    )


def _cross_entropy(model: nn.Module, batch: Batch) -> _Loss:
    total = -token_logprobs(response_logits(model, batch.student), batch.token_ids).mean()
    return _Loss(total, {"cross_entropy": total.item()})


def _step(
    optimizer: Optimizer, losses: Sequence[tuple[_LossNow, int]], max_grad_norm: float, where: str
) -> dict[str, float]:
    """One optimiser step: means over all response tokens, and the gradient's norm before clipping.

    `losses` has each batch with the number of its response tokens.
    """
    total_tokens = sum(tokens for _, tokens in losses)
    step: dict[str, float] = {}
    optimizer.zero_grad()
    for loss_now, tokens in losses:
        loss, share = loss_now(), tokens / total_tokens
        torch.autograd.backward(loss.total * share)
        for name, value in loss.numbers.items():
            step[name] = step.get(name, 0.0) + value * share
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    step["grad_norm"] = nn.utils.clip_grad_norm_(parameters, max_grad_norm or math.inf).item()
    _require_finite(step, optimizer, where)
    optimizer.step()
    optimizer.zero_grad()
    return step


def _require_finite(step: Mapping[str, float], optimizer: Optimizer, where: str) -> None:
    for name, value in step.items():
        if not math.isfinite(value):
            optimizer.zero_grad()
            learning_rate: float = optimizer.param_groups[0]["lr"]
            raise StackError(
                f"{name} is {value} at {where}; the weights were not changed by it. The update has diverged: lower "
                f"training.learning_rate (now {learning_rate:g}) and start again from the last version"
            )


def _metrics(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    means = {name: fmean(row[name] for row in steps) for name in steps[0]}
    ends = {
        f"{name}_{end}": row[name]
        for name in ("distill_loss", "cross_entropy")
        if name in means
        for end, row in (("first", steps[0]), ("last", steps[-1]))
    }
    return means | ends | {"steps_per_batch_applied": float(len(steps))}


_STATE = ("exp_avg", "exp_avg_sq", "step")


def trainable_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The named parameters that take a gradient: those of the active adapter in a PEFT model."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def new_optimizer(parameters: Iterable[tuple[str, nn.Parameter]], learning_rate: float) -> AdamW:
    """AdamW without weight decay, which would pull an adapter towards the base model unasked.

    The names are those that `optimizer_tensors` stores the state under.
    """
    return AdamW(list(parameters), lr=learning_rate, betas=(0.9, 0.999), weight_decay=0.0)


def optimizer_tensors(optimizer: AdamW) -> dict[str, Tensor]:
    """The optimiser's state as `{parameter name}.{exp_avg | exp_avg_sq | step}`: copies in CPU memory.

    Empty before the first step. The learning rate is not part of it.
    """
    return {
        f"{name}.{key}": optimizer.state[parameter][key].detach().to("cpu", copy=True).contiguous()
        for name, parameter in _named(optimizer)
        if parameter in optimizer.state
        for key in _STATE
    }


def load_optimizer_tensors(optimizer: AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, bit for bit; the learning rate stays the optimiser's own.

    An empty mapping is the state before the first step. Raises `StackError` where names or shapes do not fit, and
    leaves the optimiser as it was.
    """
    named = _named(optimizer)
    expected = {f"{name}.{key}" for name, _ in named for key in _STATE} if tensors else set[str]()
    if odd := sorted(expected.symmetric_difference(tensors)):
        raise StackError(f"the stored optimiser state does not fit the adapter: {odd[0]!r} is missing or unknown")
    state: dict[int, dict[str, Tensor]] = {}
    for index, (name, parameter) in enumerate(named if tensors else []):
        state[index] = {key: tensors[f"{name}.{key}"] for key in _STATE}
        _require_shape(name, state[index], parameter)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _named(optimizer: AdamW) -> list[tuple[str, nn.Parameter]]:
    group = optimizer.param_groups[0]
    return list(zip(group["param_names"], group["params"], strict=True))


def _require_shape(name: str, state: Mapping[str, Tensor], parameter: nn.Parameter) -> None:
    for key in _STATE:
        wanted = torch.Size() if key == "step" else parameter.shape
        if state[key].shape != wanted:
            raise StackError(
                f"the stored optimiser state does not fit the adapter: {name}.{key} has shape "
                f"{tuple(state[key].shape)}, expected {tuple(wanted)}"
            )
