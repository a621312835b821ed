"""Optimizers that are evaluated at other weights than they train, such as averages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeGuard

from torch import Tensor
from torch.optim import Optimizer

from sparsernn.errors import UserError
from sparsernn.sparsifying.sparsifier import Sparsifier


class _Evaluated(Protocol):
    """An optimizer with other weights to evaluate than to train."""

    def eval(self) -> object: ...

    def train(self) -> object: ...


def show(optimizer: Optimizer, sparsifier: Sparsifier | None) -> None:
    """Put the weights that are evaluated into the model, absent ones exactly zero.

    An optimizer has such weights if it has `eval()` and `train()`, as `averaged_sgd`, `averaged_adamw` and
    schedule-free optimizers do.
    """
    if _has_others(optimizer):
        optimizer.eval()
        if sparsifier is not None:
            sparsifier.enforce()


@contextmanager
def evaluated_weights(optimizer: Optimizer, sparsifier: Sparsifier | None) -> Iterator[None]:
    """Within the block the model holds the weights that are evaluated; after it, those that are trained."""
    show(optimizer, sparsifier)
    try:
        yield
    finally:
        if _has_others(optimizer):
            optimizer.train()


def exchange(optimizer: Optimizer, *, evaluates: bool, prepare: Callable[[Tensor, Tensor], None] | None = None) -> None:
    """Swap every weight and the "average" in its state, unless the group's "evaluates" says that they are so already.

    Arguments:
        evaluates: whether the averages are to stand in the model.
        prepare: called with a weight and its average before that is shown.
    """
    for group in optimizer.param_groups:
        if group["evaluates"] == evaluates:
            continue
        group["evaluates"] = evaluates
        for parameter in group["params"]:
            average = optimizer.state.get(parameter, {}).get("average")
            if average is not None:
                if evaluates and prepare is not None:
                    prepare(parameter, average)
                weight = parameter.clone()
                parameter.copy_(average)
                average.copy_(weight)


def check_trains(optimizer: Optimizer) -> None:
    """Raises: UserError for a step while averages stand in the model."""
    if any(group["evaluates"] for group in optimizer.param_groups):
        raise UserError("The optimizer stands at its averages", "a step from the weights", "Call train() first")


def note_validation(optimizer: Optimizer, loss: float) -> None:
    """Tell an optimizer that asks for it, by having `validated(loss)`, the loss of a validation."""
    validated = getattr(optimizer, "validated", None)
    if callable(validated):
        validated(loss)


def _has_others(optimizer: object) -> TypeGuard[_Evaluated]:
    return callable(getattr(optimizer, "eval", None)) and callable(getattr(optimizer, "train", None))
