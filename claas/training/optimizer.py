"""AdamW whose state can be stored next to the weights it belongs to, as named tensors instead of a pickle."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from claas.core.errors import StackError

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
