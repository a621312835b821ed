"""Torch's own recurrent modules, run by the loop of this package where it has a better kernel than torch's."""

import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from sparsernn.errors import UserError
from sparsernn.kernels.registry import Problem, choose
from sparsernn.running.loop import Input, Part, Stack, run_layers
from sparsernn.running.modules import Built, run_step
from sparsernn.running.runner import HasMasks, Place, active, hand_masks, handed_masks, withdraw_masks
from sparsernn.structure.modules import recurrent

Module = TypeVar("Module", bound=nn.Module)
RUN_BY_US = (Built, *recurrent.STACKS, *recurrent.STEPS)


class OwnForward:
    """The forward of one of torch's recurrent modules. A copy of the module has the plain one again.

    Torch's own code runs unless another runner is active or a kernel that is better than torch's takes a layer.
    """

    def __init__(self, module: nn.RNNBase | nn.RNNCellBase):
        self.module = module

    def __call__(self, input: Input, hx: Any = None) -> Any:
        module = called(self, self.module)
        if torch.compiler.is_compiling() or not (active() or has_better_kernel(module, input)):
            return type(module).forward(module, input, hx)
        parts = parts_of(module)
        if isinstance(module, nn.RNNCellBase):
            return run_step(module, parts[0], input, hx)  # type: ignore[arg-type]
        directions, dropout = 1 + module.bidirectional, module.dropout if module.training else 0.0
        return run_layers(Stack(module, parts, directions, module.batch_first, dropout), input, hx)

    def __reduce__(self) -> tuple[Any, ...]:
        return plain_forward, (self.module,)


def plain_forward(module: nn.Module) -> Any:
    """The forward of a module's class."""
    return types.MethodType(type(module).forward, module)


def called(forward: object, module: Module) -> Module:
    """The module whose forward this is: the one it was put into, or a shallow copy of it, as for data parallel.

    Such a copy shares all attributes, and torch calls what is in its place by the name `self`.
    """
    if torch.compiler.is_compiling():
        return module
    caller = sys._getframe(2).f_locals.get("self")
    return caller if isinstance(caller, type(module)) and vars(caller).get("forward") is forward else module


def parts_of(module: nn.Module) -> list[Part]:
    """Every layer and direction of a module that runs recurrent layers, with its present weights."""
    if isinstance(module, Built):
        return module.parts()
    if not isinstance(module, nn.RNNBase | nn.RNNCellBase):
        raise TypeError(f"{type(module).__name__} has no recurrent layers that are known")
    cell = recurrent.cell_of(module)
    return [
        Part(cell, {local: getattr(module, name) for local, name in names.items()}, sizes, names)
        for names, sizes in zip(recurrent.names_of(module), recurrent.sizes_of(module), strict=True)
    ]


def nominal_problems(module: nn.Module, batch: int, has_lengths: bool = False) -> list[tuple[Part, Problem]]:
    """A problem of one step for every layer of a module, with the masks handed to it, by which a kernel is chosen."""
    problems = []
    for part in parts_of(module):
        nothing = next(iter(part.weights.values())).detach().new_zeros(())
        x = nothing.expand(1, batch, part.sizes["input"])
        state = tuple(nothing.expand(batch, part.sizes[axis]) for axis in part.cell.state_axes)
        lengths = torch.ones(batch, dtype=torch.long) if has_lengths else None
        masks = handed_masks(Place(module, part.names))
        problems.append((part, Problem(part.cell, part.weights, x, state, lengths, masks)))
    return problems


def has_better_kernel(module: nn.Module, input: Input) -> bool:
    """Whether a kernel that is not torch's own would take any layer of a module for this input."""
    if isinstance(input, PackedSequence):
        batch = int(input.batch_sizes[0])
    else:
        first = bool(getattr(module, "batch_first", False)) or isinstance(module, nn.RNNCellBase)
        batch = input.shape[0 if first else -2] if input.dim() > 1 else 1
    problems = nominal_problems(module, batch, isinstance(input, PackedSequence))
    return any(not choose(problem).plain for _, problem in problems)


def run_here(module: nn.Module) -> None:
    """Let the loop of this package decide how a module of torch's is run; others are left as they are.

    So are those with a forward of their own, of a subclass or put into them, which may do more than run the layer.
    """
    if _has_torchs_forward(module) and not is_run_here(module):
        module.forward = OwnForward(module)  # type: ignore[method-assign]


def require_run_here(module: nn.Module) -> None:
    """The same where nothing else will do.

    Raises: UserError for a recurrent module with a forward of its own.
    """
    if isinstance(module, nn.RNNBase | nn.RNNCellBase) and not _has_torchs_forward(module):
        kind, is_put = type(module).__name__, "forward" in vars(module)
        has = "runs a forward that was put into it" if is_put else "is a subclass with a forward of its own"
        raise UserError(
            f"{kind} {has}, so that its steps cannot be taken apart",
            "recurrent layers whose forward is torch's",
            "let a module of your own hold the layer, and move that forward there",
        )
    run_here(module)


def _has_torchs_forward(module: nn.Module) -> bool:
    forward = vars(module).get("forward")
    plain = isinstance(forward, OwnForward | None) or getattr(forward, "__func__", None) is type(module).forward
    return plain and any(type(module).forward is kind.forward for kind in (*recurrent.STACKS, *recurrent.STEPS))


def is_run_here(module: nn.Module) -> bool:
    """Whether the loop of this package runs a module."""
    return isinstance(module, Built) or isinstance(vars(module).get("forward"), OwnForward)


def run_as_before(module: nn.Module) -> None:
    """Undo `run_here`."""
    if isinstance(vars(module).get("forward"), OwnForward):
        del module.forward


def hand_over(model: nn.Module, paths: Iterable[str], masks: HasMasks, tied: Mapping[str, str]) -> None:
    """Hand masks to the recurrent modules at some paths of a model; they are read anew at every forward.

    Arguments:
        tied: further names of tied parameters -> their first names, under which masks are kept.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    for path in paths:
        module, prefix = modules.get(path), f"{path}." if path else ""
        if isinstance(module, RUN_BY_US):
            full = {local: prefix + local for local, _ in module.named_parameters(remove_duplicate=False)}
            hand_masks(module, masks, {local: tied.get(name, name) for local, name in full.items()})
            run_here(module)


def take_back(model: nn.Module) -> None:
    """Undo `hand_over` in a whole model."""
    for module in model.modules():
        withdraw_masks(module)
        run_as_before(module)
