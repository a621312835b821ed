"""Runner of layers: what decides how each recurrent layer of a module is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sparsernn.kernels import registry
from sparsernn.kernels.registry import Problem, State


class Place(NamedTuple):
    """Where a layer stands: its module, and the parameter names of its weights there, by local name."""

    module: nn.Module
    names: Mapping[str, str]


class Runner(Protocol):
    """Turns a layer's problem into (output [time batch unit], final states)."""

    def __call__(self, place: Place, problem: Problem) -> tuple[Tensor, State]: ...


def by_kernels(place: Place, problem: Problem) -> tuple[Tensor, State]:
    """The first kernel that does not refuse."""
    return registry.run(problem)


_active: ContextVar[Runner | None] = ContextVar("active", default=None)


def active() -> Runner | None:
    """The runner that `running_by` has put in the place of the usual one, if any."""
    return _active.get()


def run_by_choice(place: Place, problem: Problem) -> tuple[Tensor, State]:
    """By the active runner if there is one, with the masks that were handed to the module."""
    masks = handed_masks(place)
    problem = problem if masks is None else replace(problem, masks=masks)
    return (_active.get() or by_kernels)(place, problem)


@contextmanager
def running_by(runner: Runner) -> Iterator[None]:
    """Within the block every layer that runs itself is run by this."""
    token = _active.set(runner)
    try:
        yield
    finally:
        with suppress(ValueError):  # where another thread ends it, the one that began it is gone
            _active.reset(token)


class HasMasks(Protocol):
    """Whatever holds masks, by parameter name in the model."""

    kept: dict[str, Tensor]


class HandedMasks:
    """Masks of a module's weights, while somebody keeps what is absent at zero.

    A copy of the module holds none: what exists in it is read off its weights.
    """

    def __init__(self, masks: HasMasks | None = None, names: Mapping[str, str] | None = None):
        self.masks, self.names = masks, names or {}

    def of(self, names: Mapping[str, str]) -> dict[str, Tensor] | None:
        """Local name -> mask of the weights of one layer; None where none of them has one."""
        kept = {} if self.masks is None else self.masks.kept
        masks = {local: kept.get(self.names.get(name, "")) for local, name in names.items()}
        return {local: mask for local, mask in masks.items() if mask is not None} or None

    def __reduce__(self) -> tuple[type[HandedMasks], tuple[()]]:
        return HandedMasks, ()


HANDED = "_handed_masks"


def hand_masks(module: nn.Module, masks: HasMasks, names: Mapping[str, str]) -> None:
    """From now on the masks, whatever they will be, say which weights of a module exist.

    Arguments:
        names: the module's own parameter names -> names in the masks.
    """
    vars(module)[HANDED] = HandedMasks(masks, names)


def withdraw_masks(module: nn.Module) -> None:
    """The module is like any other."""
    vars(module).pop(HANDED, None)


def handed_masks(place: Place) -> dict[str, Tensor] | None:
    """Local name -> mask of what was handed to the module of a layer, or None."""
    if torch.compiler.is_compiling():
        return None
    handed = vars(place.module).get(HANDED)
    return None if handed is None else handed.of(place.names)
