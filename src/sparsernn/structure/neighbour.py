"""Neighbour: a kind of module that the package knows, its weights in names, and how it is cut."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn import folders
from sparsernn.structure.description import Description


@dataclass(frozen=True)
class Neighbour:
    """One kind of module.

    Attributes:
        kinds: its classes; a subclass counts only where it does not change their forward, or says with
            ``behaves_as = nn.Embedding`` that its own reads the same weights in the same way.
        wrapped: whether a subclass counts too whose forward calls theirs: what it does around that call is followed.
        describe: the module in names, or None where one of its options makes it unknown.
        resize: sets the module's size attributes after its parameters were exchanged for smaller ones; None where
            these follow from the units that stay.
        renumber: for a module whose description has `numbered` axes: tells it which units of each axis stayed, so
            that it takes the numbers that callers know.
    """

    kinds: tuple[type[nn.Module], ...]
    describe: Callable[[Any], Description | None]
    resize: Callable[[Any], None] | None = None
    renumber: Callable[[Any, Mapping[str, Tensor]], None] | None = None
    wrapped: bool = False


_registered: list[Neighbour] = []


def register(neighbour: Neighbour) -> None:
    """Make a kind of module known; it comes before those of the package."""
    _registered.insert(0, neighbour)


@cache
def _of_the_package() -> tuple[Neighbour, ...]:
    return tuple(folders.entries("structure.modules").values())


def neighbour_of(module: nn.Module) -> Neighbour | None:
    """The kind of a module, or None, as of one whose instance has another forward."""
    if has_another_forward(module):
        return None
    for neighbour in (*_registered, *_of_the_package()):
        for kind in neighbour.kinds:
            if isinstance(module, kind) and (_runs_as(module, kind) or neighbour.wrapped and _calls(module, kind)):
                return neighbour
    return None


def has_another_forward(module: nn.Module) -> bool:
    """Whether somebody put a forward into a module that is not its class's; what this package puts there runs it."""
    if isinstance(module, torch.jit.ScriptModule):
        return True
    forward = vars(module).get("forward")
    within = type(forward).__module__.startswith(f"{__name__.partition('.')[0]}.")
    return forward is not None and not within and getattr(forward, "__func__", None) is not type(module).forward


def wrapped_kind(module: nn.Module) -> type[nn.Module] | None:
    """The kind whose forward a subclass calls within one of its own; None for any other module."""
    neighbour = neighbour_of(module)
    kinds = () if neighbour is None else neighbour.kinds
    return next((kind for kind in kinds if isinstance(module, kind) and not _runs_as(module, kind)), None)


def _runs_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    return type(module).forward is kind.forward or getattr(module, "behaves_as", None) is kind


def _calls(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether every forward that a subclass has above that of its kind names a forward itself."""
    above = type(module).__mro__[: type(module).__mro__.index(kind)]
    forwards = [vars(part)["forward"] for part in above if "forward" in vars(part)]
    codes = [getattr(inspect.unwrap(forward), "__code__", None) for forward in forwards]
    return all(code is not None and "forward" in code.co_names for code in codes)


def describe(module: nn.Module) -> Description | None:
    """The module in names, or None where it is unknown (its weights are then left alone).

    A module of one's own declares itself with a method ``describe() -> Description``.
    """
    if callable(declared := getattr(module, "describe", None)):
        description = declared()
        return description if isinstance(description, Description) else None
    neighbour = neighbour_of(module)
    description = None if neighbour is None else neighbour.describe(module)
    if description is None:
        return None
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return description if all(part.name in parameters for part in description.parts) else None


def whole_groups(kept: Tensor, size: int) -> int:
    """How many groups of `size` units are left. Raises: ValueError for a part of one."""
    rows = kept.view(-1, size) if len(kept) % size == 0 else kept.view(-1, 1)
    if rows.shape[1] != size or not bool((rows == rows[:, :1] // size * size + torch.arange(size)).all()):
        raise ValueError(f"some groups of {size} units stay in part")
    return len(rows)


def exchange_parameters(module: nn.Module, tensors: dict[str, nn.Parameter], kept: Mapping[str, Tensor]) -> nn.Module:
    """A known module itself, with its parameters exchanged for smaller ones and its size attributes set.

    Arguments:
        kept: axis key -> numbers of the units that stayed.
    """
    for name, parameter in tensors.items():
        owner, _, local = name.rpartition(".")
        setattr(module.get_submodule(owner), local, parameter)
    if (neighbour := neighbour_of(module)) is not None:
        if neighbour.resize is not None:
            neighbour.resize(module)
        if neighbour.renumber is not None:
            neighbour.renumber(module, kept)
    return module
