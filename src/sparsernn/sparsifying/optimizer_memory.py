"""What an optimizer remembers of single weights, and how it forgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn, optim

from sparsernn.structure.zeroing import zero_absent_


def forget(optimizer: optim.Optimizer, parameter: nn.Parameter, where: Tensor) -> None:
    """Give some positions of a weight the memory of a new one: momentum, averages, step sizes.

    Whatever has the weight's shape is set to what it starts from; memory that is shared by many weights (Adafactor's
    rows) stays, and that of a quasi-Newton method, which is of all weights together, starts again.
    """
    for name, value in optimizer.state.get(parameter, {}).items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            if first := _first_value(optimizer, name, parameter):
                value.masked_fill_(where.to(value.device), first)
            else:
                zero_absent_(value, ~where.to(value.device))
    if isinstance(optimizer, optim.LBFGS):
        for memory in optimizer.state.values():
            memory["n_iter"] = 0


def renew(optimizer: optim.Optimizer) -> None:
    """Give the optimizer the memory of a new one."""
    try:
        fresh = _new_state(type(optimizer), [dict(group) for group in optimizer.param_groups])
    except TypeError:  # not to be had from parameter groups alone
        fresh = {}
    optimizer.state.clear()
    optimizer.state.update(fresh)


def _new_state(make: Callable[..., optim.Optimizer], groups: list[dict[str, Any]]) -> dict[Any, Any]:
    return dict(make(groups).state)


def _first_value(optimizer: optim.Optimizer, name: str, parameter: nn.Parameter) -> float:
    options = next(group for group in optimizer.param_groups if any(one is parameter for one in group["params"]))
    if isinstance(optimizer, optim.Rprop) and name == "step_size":
        return float(options["lr"])
    if isinstance(optimizer, optim.Adagrad) and name == "sum":
        return float(options["initial_accumulator_value"])
    return 0.0
