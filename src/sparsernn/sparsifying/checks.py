"""What a `Sparsifier` is made from: is it what it should be?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn, optim

from sparsernn.errors import UserError
from sparsernn.methods.method import Method


def check_arguments(method: Any, steps: Any, at_least: int) -> None:
    """Raises: UserError for something else in place of a method, or a number of steps that is too small."""
    if not isinstance(method, Method):
        raise UserError(
            f"the method is {method!r}", "an object such as RigL(sparsity=0.9)", "import one from sparsernn.methods"
        )
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < at_least:
        raise UserError(
            f"steps is {steps!r}", "the number of optimizer steps of the whole training", "pass steps=epochs * batches"
        )


def check_holds(optimizer: optim.Optimizer, weights: Mapping[str, nn.Parameter]) -> None:
    """Raises: UserError unless an optimizer steps these weights."""
    there = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name, weight in weights.items() if id(weight) not in there]
    if missing:
        raise UserError(
            f"the optimizer does not hold {missing[0]}",
            "an optimizer over this model's parameters",
            "build it from model.parameters() of the same model",
        )
