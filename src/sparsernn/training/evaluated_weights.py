"""Optimizers that are evaluated at other weights than they train, such as averages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeGuard

from torch.optim import Optimizer

from sparsernn.sparsifying.sparsifier import Sparsifier


class _Evaluated(Protocol):
    """An optimizer with other weights to evaluate than to train."""

    def eval(self) -> object: ...

    def train(self) -> object: ...


def show(optimizer: Optimizer, sparsifier: Sparsifier | None) -> None:
    """Put the weights that are evaluated into the model, absent ones exactly zero.

    An optimizer has such weights if it has `eval()` and `train()`, as `averaged_sgd` and schedule-free optimizers do.
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


def note_validation(optimizer: Optimizer, loss: float) -> None:
    """Tell an optimizer that asks for it, by having `validated(loss)`, the loss of a validation."""
    validated = getattr(optimizer, "validated", None)
    if callable(validated):
        validated(loss)


def _has_others(optimizer: object) -> TypeGuard[_Evaluated]:
    return callable(getattr(optimizer, "eval", None)) and callable(getattr(optimizer, "train", None))
