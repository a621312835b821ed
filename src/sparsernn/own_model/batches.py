"""Batches of a user's data, and a model called with one."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError, reason
from sparsernn.structure.modes import modes_kept
from sparsernn.tracing.examples import Example, place_of
from sparsernn.tracing.surroundings import Surroundings

ENDLESS = 100_000  # batches after which data is taken for a stream without an end
Value = TypeVar("Value")
Loss = Callable[[nn.Module, Any], Tensor]


def batches_of(data: object, most: int | None = None) -> list[object]:
    """The first batches of some data; a tensor is one batch. Raises: UserError if there is none."""
    if isinstance(data, Tensor):
        return [data]
    if not isinstance(data, Iterable) or isinstance(data, str | bytes):
        raise UserError(
            f"data is {type(data).__name__}", "batches, as a loader or a list gives them", "pass an iterable"
        )
    batches = list(itertools.islice(data, most))
    if not batches:
        raise UserError("data holds no batch", "at least one", "pass a loader that can be read again, or a list")
    return batches


def again_and_again(data: Iterable[Any]) -> Iterator[Any]:
    """The batches of some data, from the first one again after the last. Raises: UserError if there are none."""
    while True:
        empty = True
        for batch in data:
            empty = False
            yield batch
        if empty:
            raise _emptied()


def ask(what: str, function: Callable[..., Value], *arguments: object) -> Value:
    """What a function of the user's returns. Raises: UserError with its line where it raises an error."""
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{what} raised {type(error).__name__}: {reason(error)} (at {place_of(error)})",
            "a function that runs on this model and this data",
            "correct that line",
        ) from error


def number_of(what: str, function: Callable[..., object], *arguments: object) -> float:
    """The number that a function of the user's returns. Raises: UserError for anything else."""
    value = ask(what, function, *arguments)
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{what} returned {value!r}", "one number, the higher the better", "return a float") from error


def passes(data: Iterable[Any]) -> int:
    """How many batches one pass over some data has. Raises: UserError for data without an end."""
    if hasattr(data, "__len__"):
        return len(data)  # type: ignore[arg-type]
    if not (count := sum(1 for _ in itertools.islice(data, ENDLESS))):
        raise _emptied()
    if count == ENDLESS:
        raise UserError(f"data goes on after {ENDLESS} batches", "data that ends, or a number", "pass How(steps=...)")
    return count


def _emptied() -> UserError:
    return UserError("data held no batch when it was read again", "the same ones each time", "pass a loader or a list")


def run(model: nn.Module, batch: object, loss: Loss | None) -> object:
    """The loss of a batch, or what the model returns for it where there is no loss.

    Raises: UserError if the model does not take the batch, or the loss is something else than one number.
    """
    if loss is None:
        try:
            return Example.of(batch).call(model)
        except Exception as error:
            raise UserError(
                f"the model cannot be called with a batch ({reason(error)})",
                "batches that are its inputs, or a loss",
                "pass loss=, a function of model and batch, where a batch holds labels too",
            ) from error
    value: object = ask("the loss", loss, model, batch)
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = f"has the shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"is a {type(value).__name__}"
        raise UserError(f"the loss {what}", "a tensor of one number", "return its mean")
    return value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Inside, the model is in evaluation mode; afterwards it, what it keeps, and all generators are as before."""
    surroundings = Surroundings(model)
    try:
        with modes_kept(model):
            yield model.eval()
    finally:
        surroundings.put_back()


def inputs_of(model: nn.Module, batch: object, loss: Loss) -> tuple[tuple[object, ...], dict[str, object]]:
    """What a loss hands to the model for a batch: positional inputs and keywords of the first call.

    Raises: UserError if it does not call the model.
    """
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    def note(module: nn.Module, arguments: tuple[object, ...], keywords: dict[str, object]) -> None:
        calls.append((arguments, keywords))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        with evaluating(model), torch.enable_grad():
            ask("the loss", loss, model, batch)
    finally:
        hook.remove()
    if not calls:
        raise UserError(
            "the loss does not call the model", "model(...) in it", "let loss(model, batch) call model(...)"
        )
    return calls[0]
