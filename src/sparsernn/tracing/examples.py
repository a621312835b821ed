"""Examples: what a model is called with, in every form in which users write it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves

from sparsernn.errors import UserError, reason
from sparsernn.running.modules import Recurrent
from sparsernn.tracing.copying import copy_of

TORCH = str(Path(torch.__file__).parent)
NOT_THE_USERS = (TORCH, str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class InTraining:
    """An example that is run in training mode, as in ``examples=[x, InTraining(x)]``; layers of dropout let all pass.

    Arguments:
        example: a tensor, a tuple, a dict of keywords, or a (tuple, dict) pair.
    """

    example: object


@dataclass(frozen=True, eq=False)
class Example:
    """The arguments of one forward, and the mode in which it is run."""

    arguments: tuple[object, ...] = ()
    keywords: Mapping[str, object] = field(default_factory=dict)
    training: bool = False

    @classmethod
    def of(cls, value: object) -> Example:
        """What a user wrote: one argument, a tuple or list of them, a dict of keywords, or a (tuple, dict) pair."""
        if isinstance(value, Example):
            return value
        if isinstance(value, InTraining):
            return replace(cls.of(value.example), training=True)
        if _are_keywords(value):
            return cls((), {**value})
        if not isinstance(value, tuple | list) or type(value) not in (tuple, list):
            return cls((value,))
        if type(value) is tuple and len(value) == 2 and type(value[0]) is tuple and _are_keywords(value[1]):
            return cls(value[0], {**value[1]})
        return cls(tuple(value))

    def call(self, model: nn.Module) -> object:
        """What the model returns, in the example's mode; the arguments are copies, which the forward may change."""
        model.train(self.training)
        for module in model.modules():
            if isinstance(module, _DropoutNd | nn.RNNBase | Recurrent):
                module.training = False
        arguments, keywords = copy_of((self.arguments, dict(self.keywords)))
        return model(*arguments, **keywords)


def examples_of(example: object = None, examples: Sequence[object] = ()) -> list[Example]:
    """Every example of a call: `example` may be one, or a list of tuples and dicts.

    Raises: UserError if `examples` is no list, or an example holds nothing.
    """
    if not isinstance(examples, list | tuple):
        raise UserError(
            f"examples is a {type(examples).__name__}", "a list of examples", "pass one example as example="
        )
    several = type(example) is list and bool(example) and all(map(_is_complete, example))
    first = example if several and isinstance(example, list) else [] if example is None else [example]
    complete = [Example.of(value) for value in (*first, *examples)]
    for one in complete:
        tensors = [leaf for leaf in tree_leaves((one.arguments, dict(one.keywords))) if isinstance(leaf, Tensor)]
        if tensors and not any(tensor.is_nested or tensor.numel() for tensor in tensors):
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise UserError(
                f"the example is empty: {shapes}", "one sequence with one step at least", "pass a batch that has some"
            )
    return complete


def _is_complete(value: object) -> bool:
    """Whether a member of a list is an example by itself, not an argument among others."""
    return isinstance(value, Example | InTraining) or type(value) is tuple or _are_keywords(value)


def _are_keywords(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def does_not_run(error: Exception) -> UserError:
    """What is raised where a model does not take its example."""
    return UserError(
        f"the model does not run on the example: {reason(error)} (at {place_of(error)})",
        "a tensor, a tuple of arguments, a dict of keywords, or a (tuple, dict) pair that the forward takes",
        "pass example= in one of these forms, several examples in a list by examples=",
    )


def place_of(error: Exception) -> str:
    """The user's line in which an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith(NOT_THE_USERS)]
    line = (users or frames)[-1]
    return f"{line.filename}:{line.lineno}"
