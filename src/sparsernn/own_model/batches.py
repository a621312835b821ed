"""Batches of a user's data, and a model called with one."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.structure.modes import modes_kept
from sparsernn.tracing.examples import Example

Loss = Callable[[nn.Module, Any], Tensor]


def batches_of(data: object, most: int | None = None) -> list[object]:
    """The first batches of some data; a tensor is one batch. Raises: UserError if there is none."""
    if isinstance(data, Tensor):
        return [data]
    if not isinstance(data, Iterable):
        raise UserError(
            f"data is {type(data).__name__}", "batches, as a loader or a list gives them", "pass an iterable"
        )
    batches = list(itertools.islice(data, most))
    if not batches:
        raise UserError("data holds no batch", "at least one", "pass a loader that can be read again, or a list")
    return batches


def call(model: nn.Module, batch: object) -> object:
    """What the model returns for a tensor, a tuple of inputs, a dict of keywords, or a pair (tuple, dict)."""
    return Example.of(batch).call(model)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Inside, the model is in evaluation mode; afterwards its modes and torch's generator are as before."""
    state = torch.random.get_rng_state()
    try:
        with modes_kept(model):
            yield model.eval()
    finally:
        torch.random.set_rng_state(state)


def inputs_of(model: nn.Module, batch: object, loss: Loss) -> tuple[tuple[object, ...], dict[str, object]]:
    """What a loss hands to the model for a batch: positional inputs and keywords of the first call.

    Raises: UserError if it does not call the model.
    """
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def note(module: nn.Module, arguments: tuple[object, ...], keywords: dict[str, object]) -> None:
        calls.append((arguments, keywords))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        with evaluating(model), torch.no_grad():
            loss(model, batch)
    finally:
        hook.remove()
    if not calls:
        raise UserError(
            "the loss does not call the model", "model(...) in it", "let loss(model, batch) call model(...)"
        )
    return calls[0]
