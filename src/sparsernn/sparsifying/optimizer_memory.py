"""What an optimizer remembers of single weights, and how it forgets."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn, optim

from sparsernn.structure.zeroing import zero_absent_


def forget(optimizer: optim.Optimizer, parameter: nn.Parameter, where: Tensor) -> None:
    """Give some positions of a weight the memory of a new one: momentum, averages, step sizes.

    Whatever has the weight's shape is set to what it starts from; memory that is shared by many weights (Adafactor's
    rows) stays, and that of a quasi-Newton method, which is of all weights together, starts again.
    """
    memory = optimizer.state.get(parameter)
    for name, value in memory.items() if isinstance(memory, Mapping) else ():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            if first := _first_value(optimizer, name, parameter):
                value.masked_fill_(where.to(value.device), first)
            else:
                zero_absent_(value, ~where.to(value.device))
    if isinstance(optimizer, optim.LBFGS):
        for remembered in optimizer.state.values():
            remembered["n_iter"] = 0


def renew(optimizer: optim.Optimizer) -> None:
    """Give the optimizer the memory of a new one; an empty one where parameter groups alone do not make it."""
    try:
        fresh = _new_state(type(optimizer), [dict(group) for group in optimizer.param_groups])
    except Exception:
        fresh = {}
    optimizer.state.clear()
    optimizer.state.update(fresh)


def _new_state(make: Callable[..., optim.Optimizer], groups: list[dict[str, Any]]) -> dict[Any, Any]:
    return dict(make(groups).state)


def _first_value(optimizer: optim.Optimizer, name: str, parameter: nn.Parameter) -> float:
    option = {(optim.Rprop, "step_size"): "lr", (optim.Adagrad, "sum"): "initial_accumulator_value"}
    for (kind, memory), label in option.items():
        if isinstance(optimizer, kind) and name == memory:
            groups = (group for group in optimizer.param_groups if any(one is parameter for one in group["params"]))
            return float(next(groups)[label])
    return 0.0
