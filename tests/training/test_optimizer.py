"""Optimiser state outlives the process: what is stored and put back continues bit for bit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from claas.core.errors import StackError
from claas.training.update import load_optimizer_tensors, new_optimizer, optimizer_tensors, trainable_parameters


def layer() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def train(model: nn.Module, optimizer: torch.optim.AdamW, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.ones(4, 3)) - 1).pow(2).sum().backward()
        optimizer.step()


def state_after(steps: int) -> tuple[nn.Module, dict[str, Tensor]]:
    model = layer()
    optimizer = new_optimizer(trainable_parameters(model), 0.01)
    train(model, optimizer, steps)
    return model, optimizer_tensors(optimizer)


def test_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole, _ = state_after(7)
    resumed, tensors = state_after(3)
    save_file(tensors, tmp_path / "optimizer.safetensors")
    optimizer = new_optimizer(trainable_parameters(resumed), 0.01)
    load_optimizer_tensors(optimizer, load_file(tmp_path / "optimizer.safetensors"))
    train(resumed, optimizer, 4)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_state_is_stored_by_parameter_name() -> None:
    _, tensors = state_after(2)
    assert sorted(tensors) == [
        f"{name}.{key}" for name in ("bias", "weight") for key in ("exp_avg", "exp_avg_sq", "step")
    ]
    assert tensors["weight.step"] == 2


def test_what_was_stored_is_a_copy() -> None:
    model = layer()
    optimizer = new_optimizer(trainable_parameters(model), 0.01)
    train(model, optimizer, 1)
    tensors = optimizer_tensors(optimizer)
    before = tensors["weight.exp_avg"].clone()
    train(model, optimizer, 1)
    assert torch.equal(tensors["weight.exp_avg"], before)


def test_before_the_first_step_there_is_no_state() -> None:
    _, tensors = state_after(0)
    assert tensors == {}
    model, _ = state_after(0)
    optimizer = new_optimizer(trainable_parameters(model), 0.01)
    train(model, optimizer, 1)
    load_optimizer_tensors(optimizer, tensors)
    assert optimizer_tensors(optimizer) == {}


def test_a_new_learning_rate_is_kept() -> None:
    model, tensors = state_after(2)
    optimizer = new_optimizer(trainable_parameters(model), 0.5)
    load_optimizer_tensors(optimizer, tensors)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_without_a_gradient_nothing_decays() -> None:
    model = layer()
    before = model.weight.detach().clone()
    optimizer = new_optimizer(trainable_parameters(model), 0.5)
    (0 * model(torch.ones(1, 3))).sum().backward()
    optimizer.step()
    assert torch.equal(model.weight, before)


def test_frozen_parameters_have_no_part_in_it() -> None:
    model = layer()
    model.bias.requires_grad_(False)
    assert [name for name, _ in trainable_parameters(model)] == ["weight"]


@pytest.mark.parametrize("harm", ["missing", "unknown", "shape"])
def test_state_that_does_not_fit_is_refused_and_changes_nothing(harm: str) -> None:
    model, tensors = state_after(2)
    optimizer = new_optimizer(trainable_parameters(model), 0.01)
    if harm == "missing":
        del tensors["weight.exp_avg"]
    elif harm == "unknown":
        tensors["other.exp_avg"] = torch.zeros(1)
    else:
        tensors["weight.exp_avg"] = torch.zeros(3, 3)
    with pytest.raises(StackError, match=r"exp_avg"):
        load_optimizer_tensors(optimizer, tensors)
    assert optimizer_tensors(optimizer) == {}
