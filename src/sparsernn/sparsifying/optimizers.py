"""What steps the weights: one optimizer or several, bare or inside wrappers of whatever kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim.lr_scheduler import LRScheduler

from sparsernn.errors import UserError
from sparsernn.structure.zeroing import zero_absent_

Optimizer = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]


class Optimizers:
    """All that may step a model's weights, found by looking into what the user has.

    A wrapper is whatever has `step` and holds another optimizer of the same weights, in any attribute or a list or
    dictionary there: those of Accelerate, Lightning and opacus, lookahead, sharpness-aware minimisation.

    Arguments:
        optimizer: an optimizer or a wrapper, or a list, tuple or dictionary of them.
    Attributes:
        outer: what the user has, one by one.
        all: these, and everything inside them.
        leaves: those that hold no other.
    Raises: UserError for something that is no optimizer.
    """

    def __init__(self, optimizer: object):
        self.outer = list(_members(optimizer))
        self.all: list[Any] = []
        self.leaves: list[Any] = []
        self._below: dict[int, list[Any]] = {}
        for one in self.outer:
            if not (callable(getattr(one, "step", None)) and (_groups(one) or _inside(one))) or _is_schedule(one):
                raise _no_optimizer(one)
            self._add(one)
        if not self.leaves:
            raise _no_optimizer(optimizer)

    def _add(self, one: Any) -> None:
        if any(one is other for other in self.all):
            return
        self.all.append(one)
        inside = _inside(one)
        for other in inside:
            self._add(other)
        if not inside:
            self.leaves.append(one)
        self._below[id(one)] = [leaf for other in inside for leaf in self.below(other)] or [one]

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all leaves."""
        return [group for leaf in self.leaves for group in _groups(leaf)]

    def holds(self, parameter: nn.Parameter) -> bool:
        """Whether anything here steps a parameter."""
        return any(one is parameter for group in self.groups for one in group["params"])

    def learning_rate(self, parameter: nn.Parameter) -> float:
        """The present learning rate of a parameter; 0 if nothing here steps it."""
        for group in self.groups:
            if any(one is parameter for one in group["params"]):
                return float(group.get("lr", 0.0))
        return 0.0

    @property
    def rate(self) -> float:
        """The present learning rate of the first group."""
        return float(self.groups[0].get("lr", 0.0))

    def forget(self, parameter: nn.Parameter, where: Tensor) -> None:
        """Give some positions of a weight the memory of a new one, in wrappers too (a lookahead's slow weights)."""
        for one in self.all:
            if isinstance(getattr(one, "state", None), Mapping):
                forget(one, parameter, where)

    def renew(self) -> None:
        """Give all of them the memory of new ones."""
        for leaf in self.leaves:
            renew(leaf)
        states = [getattr(leaf, "state", None) for leaf in self.leaves]
        for one in self.all:
            state = getattr(one, "state", None)
            if isinstance(state, dict) and not any(state is other for other in states):
                state.clear()

    def below(self, one: object) -> list[Any]:
        """The leaves inside an optimizer; itself, if it is one."""
        return self._below.get(id(one), [])

    def step(self) -> None:
        """Let all that the user has step."""
        for one in self.outer:
            one.step()


def _members(optimizer: object) -> Iterator[Any]:
    if isinstance(optimizer, Mapping):
        return iter(optimizer.values())
    return iter(optimizer) if isinstance(optimizer, (list, tuple)) else iter((optimizer,))


def _groups(one: object) -> list[dict[str, Any]]:
    """The parameter groups of an optimizer; none of anything else."""
    groups = getattr(one, "param_groups", None)
    if not isinstance(groups, (list, tuple)):
        return []
    return [group for group in groups if isinstance(group, dict) and "params" in group]


def _inside(one: object) -> list[Any]:
    """The optimizers of the same weights that something holds; if it has no groups itself, all that it holds."""
    weights = {id(parameter) for group in _groups(one) for parameter in group["params"]}
    inside: list[Any] = []
    for value in _attributes(one):
        for other in _members(value) if isinstance(value, (Mapping, list, tuple)) else (value,):
            if other is one or _is_schedule(other) or not callable(getattr(other, "step", None)):
                continue
            theirs = {id(parameter) for group in _groups(other) for parameter in group["params"]}
            if theirs and (not weights or weights & theirs) and not any(other is seen for seen in inside):
                inside.append(other)
    return inside


def _attributes(one: object) -> list[object]:
    names = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(one, "__dict__", {}).values(), *(getattr(one, name, None) for name in names)]


def _is_schedule(one: object) -> bool:
    return isinstance(one, LRScheduler)


def _no_optimizer(one: object) -> UserError:
    return UserError(
        f"the optimizer is a {type(one).__name__}",
        "an optimizer with step() and param_groups, a wrapper that holds one, or a list of them",
        "pass what steps this model's weights",
    )


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
