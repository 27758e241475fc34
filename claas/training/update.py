"""One SDPO update of one adapter: a few optimiser steps on one batch, against a teacher computed once.

And the state of its optimiser as tensors, so that the next update goes on where it ended.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from claas.core.errors import InvalidInput, StackError
from claas.core.settings import TrainingConfig
from claas.training.batch import Batch, align, micro_batches, response_logits
from claas.training.example import TrainingExample
from claas.training.sdpo import SdpoLoss, TeacherTarget, sdpo_loss, teacher_target, token_logprobs

MAX_TOKENS = 4096
"""Tokens of one forward pass, padding included: bounds the memory of an update, not its result."""


def run_update(
    model: nn.Module,
    optimizer: Optimizer,
    examples: Sequence[TrainingExample],
    config: TrainingConfig,
    *,
    max_tokens: int = MAX_TOKENS,
) -> dict[str, float]:
    """Train the active adapter of a PEFT-wrapped causal LM on `examples`; return what is known about it, all finite.

    The teacher is the same model with the adapter disabled, under the teacher's prompts. Items are run in groups of
    `max_tokens`; the loss is the mean over all response tokens, so the grouping does not matter. The learning rate is
    the optimiser's. The model is left in evaluation mode: nothing here is random.

    `total_loss, distill_loss, kl_reg, mean_is_ratio, clip_fraction` (see `SdpoLoss`) and `grad_norm` (before clipping)
    are means over the optimiser steps; `distill_loss_first` and `distill_loss_last` are those of single steps, each
    before its step; `tokens_processed` is the response tokens of the batch, counted once; `batch_size` the examples;
    `steps_per_batch_applied` the optimiser steps.

    Raises `StackError` when a loss or a gradient is not finite, before that step changes a weight. Earlier steps of the
    update then stand in memory, so the caller goes back to the weights it has stored.
    """
    if not examples:
        raise InvalidInput("an update needs at least one item")
    model.eval()
    device = next(model.parameters()).device
    batches = [align(group, device) for group in micro_batches(examples, max_tokens)]
    prepared = [(batch, _targets(model, batch, config)) for batch in batches]
    steps: list[_Step] = []
    for number in range(1, config.steps_per_batch + 1):
        where = f"optimiser step {number} of {config.steps_per_batch}"
        steps.append(_step(model, optimizer, prepared, config, where))
    return _metrics(steps) | {
        "tokens_processed": float(sum(batch.response_tokens for batch in batches)),
        "batch_size": float(len(examples)),
    }


@dataclass(frozen=True)
class _Targets:
    """What the frozen model says about one batch: the same at every optimiser step."""

    teacher: TeacherTarget
    base_logprobs: Tensor | None  # (N,), None where the regulariser is off


@dataclass(frozen=True)
class _Step:
    """One optimiser step: means over all response tokens, and the gradient's norm before clipping."""

    total_loss: float
    distill_loss: float
    kl_reg: float
    mean_is_ratio: float
    clip_fraction: float
    grad_norm: float


@runtime_checkable
class _Adapted(Protocol):
    def disable_adapter(self) -> AbstractContextManager[None]: ...


def _targets(model: nn.Module, batch: Batch, config: TrainingConfig) -> _Targets:
    if not isinstance(model, _Adapted):
        raise TypeError(f"{type(model).__name__} has no adapter to train: wrap it with peft.get_peft_model")
    with torch.no_grad(), model.disable_adapter():
        teacher = teacher_target(response_logits(model, batch.teacher), config.teacher_top_k)
        base_logprobs = None
        if config.kl_reg_weight > 0:
            base_logprobs = token_logprobs(response_logits(model, batch.student), batch.token_ids)
    return _Targets(teacher, base_logprobs)


def _step(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[tuple[Batch, _Targets]],
    config: TrainingConfig,
    where: str,
) -> _Step:
    total_tokens = sum(batch.response_tokens for batch, _ in batches)
    losses: list[tuple[SdpoLoss, float]] = []
    optimizer.zero_grad()
    for batch, targets in batches:
        loss = _loss(model, batch, targets, config)
        share = batch.response_tokens / total_tokens
        torch.autograd.backward(loss.total * share)
        losses.append((loss, share))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    grad_norm = nn.utils.clip_grad_norm_(parameters, config.max_grad_norm or math.inf).item()
    step = _summarize(losses, grad_norm)
    _require_finite(step, optimizer, where)
    optimizer.step()
    optimizer.zero_grad()
    return step


def _loss(model: nn.Module, batch: Batch, targets: _Targets, config: TrainingConfig) -> SdpoLoss:
    return sdpo_loss(
        response_logits(model, batch.student),
        batch.token_ids,
        batch.sampling_logprobs,
        targets.teacher,
        alpha=config.alpha,
        is_clip=config.is_clip,
        kl_reg_weight=config.kl_reg_weight,
        base_logprobs=targets.base_logprobs,
    )


def _summarize(losses: Sequence[tuple[SdpoLoss, float]], grad_norm: float) -> _Step:
    """The means over all tokens, from the groups' means and each group's share of the tokens."""
    return _Step(
        total_loss=sum((loss.distill_loss + loss.kl_reg) * share for loss, share in losses),
        distill_loss=sum(loss.distill_loss * share for loss, share in losses),
        kl_reg=sum(loss.kl_reg * share for loss, share in losses),
        mean_is_ratio=sum(loss.mean_is_ratio * share for loss, share in losses),
        clip_fraction=sum(loss.clip_fraction * share for loss, share in losses),
        grad_norm=grad_norm,
    )


def _require_finite(step: _Step, optimizer: Optimizer, where: str) -> None:
    for name, value in asdict(step).items():
        if not math.isfinite(value):
            optimizer.zero_grad()
            learning_rate: float = optimizer.param_groups[0]["lr"]
            raise StackError(
                f"{name} is {value} at {where}; the weights were not changed by it. The update has diverged: lower "
                f"training.learning_rate (now {learning_rate:g}) and start again from the last version"
            )


def _metrics(steps: Sequence[_Step]) -> dict[str, float]:
    rows = [asdict(step) for step in steps]
    means: dict[str, float] = {name: fmean(row[name] for row in rows) for name in rows[0]}
    return means | {
        "distill_loss_first": steps[0].distill_loss,
        "distill_loss_last": steps[-1].distill_loss,
        "steps_per_batch_applied": float(len(steps)),
    }


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
