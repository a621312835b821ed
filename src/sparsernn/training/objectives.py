"""Objectives: what is minimised on a batch and what is reported, for each kind of task."""

import abc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.structure.modes import modes_kept
from sparsernn.training.batches import Batch, Carry, Split
from sparsernn.training.cross_entropy import cross_entropy
from sparsernn.typed import choose

IGNORED = -100  # the target of a step that is not scored, as in torch

Network = Callable[..., Any]
Examples = TypeVar("Examples", bound=Batch)
Sums = dict[str, tuple[float, float]]  # name -> (total, count)


class Objective(abc.ABC):
    """The loss of a task and its figures.

    `metric` is the figure by which epochs are compared, `better` says whether "higher" or "lower" is better, and
    `batch_axis` is the axis of a batch along which its examples lie.
    """

    metric: str
    better: str
    batch_axis: int = 0

    @abc.abstractmethod
    def loss(self, model: Network, batch: Batch, carry: Carry = None) -> tuple[Tensor, Sums, Carry]:
        """Mean loss over the batch's targets, sums for the figures, and the state to carry into the next batch."""

    def arguments(self, batch: Batch) -> tuple[Tensor, ...]:
        """What the model is called with."""
        return (batch.inputs,) if batch.lengths is None else (batch.inputs, batch.lengths)

    def targets(self, batch: Batch) -> Tensor:
        """Targets, those that are not scored replaced by `IGNORED`."""
        return batch.targets

    def count(self, batch: Batch) -> int:
        """How many targets the mean is over."""
        targets = self.targets(batch)
        return targets.numel() if targets.is_floating_point() else int((targets != IGNORED).sum())

    def figures(self, sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """Means of the sums, with what follows from them."""
        return {name: total / count if count else math.nan for name, (total, count) in sums.items()}


class Classification(Objective):
    """One label for a sequence: cross entropy and accuracy.

    Shapes: logits [batch classes], targets [batch].
    """

    metric = "accuracy"
    better = "higher"

    def loss(self, model: Network, batch: Batch, carry: Carry = None) -> tuple[Tensor, Sums, Carry]:
        return *_cross_entropy(model(*self.arguments(batch)), self.targets(batch)), None


class Tagging(Objective):
    """One label for every step: cross entropy and accuracy over the steps that are not padding.

    Shapes: logits [batch time .. classes], targets [batch time ..], where steps may have several labels.
    """

    metric = "accuracy"
    better = "higher"

    def targets(self, batch: Batch) -> Tensor:
        if batch.lengths is None:
            return batch.targets
        steps = torch.arange(batch.targets.shape[1], device=batch.targets.device)
        behind = steps >= batch.lengths.to(steps.device)[:, None]
        return batch.targets.masked_fill(behind.view(*behind.shape, *[1] * (batch.targets.dim() - 2)), IGNORED)

    def loss(self, model: Network, batch: Batch, carry: Carry = None) -> tuple[Tensor, Sums, Carry]:
        logits = model(*self.arguments(batch))
        targets = self.targets(batch)[:, : logits.shape[1]]
        return *_cross_entropy(logits.flatten(0, -2), targets.flatten()), None


class Forecasting(Objective):
    """Numbers that follow a series: mean squared error, with the mean absolute error beside it.

    Shapes: forecast and targets [batch horizon].
    """

    metric = "mse"
    better = "lower"

    def loss(self, model: Network, batch: Batch, carry: Carry = None) -> tuple[Tensor, Sums, Carry]:
        difference = model(*self.arguments(batch)) - batch.targets
        loss, count = difference.square().mean(), difference.numel()
        absolute = difference.detach().abs().mean()
        return loss, {"loss": (loss.item() * count, count), "mae": (absolute.item() * count, count)}, None

    def figures(self, sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        figures = super().figures(sums)
        return figures | {"mse": figures["loss"]}


class Regression(Objective):
    """One number for a sequence: mean squared error, with its root, the mean absolute error and R² beside it.

    Shapes: outputs [batch 1], targets [batch].
    """

    metric = "rmse"
    better = "lower"

    def loss(self, model: Network, batch: Batch, carry: Carry = None) -> tuple[Tensor, Sums, Carry]:
        targets = batch.targets
        difference = model(*self.arguments(batch)).squeeze(-1) - targets
        loss, count = difference.square().mean(), difference.numel()
        absolute = difference.detach().abs().sum().item()
        sums = {"loss": (loss.item() * count, count), "mae": (absolute, count)}
        moments = {"mean": (targets.sum().item(), count), "square": (targets.double().square().sum().item(), count)}
        return loss, {**sums, **moments}, None

    def figures(self, sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        figures = super().figures(sums)
        mean, square, error = figures.pop("mean"), figures.pop("square"), figures["loss"]
        spread = square - mean**2
        r2 = 1 - error / spread if spread > 0 else math.nan
        return figures | {"mse": error, "rmse": math.sqrt(error) if error >= 0 else math.nan, "r2": r2}


class LanguageModelling(Objective):
    """The next token at every step: mean negative log-likelihood, perplexity and bits per token; in evaluation the
    accuracy too, which costs a pass over the logits.

    The state is carried from batch to batch, detached; the caller starts each epoch without one.

    Shapes: logits [time batch vocabulary], targets [time batch].
    """

    metric = "perplexity"
    better = "lower"
    batch_axis = 1

    def loss(self, model: Network, batch: Batch, carry: Carry = None) -> tuple[Tensor, Sums, Carry]:
        logits, state = model(*self.arguments(batch), carry)
        loss, sums = _cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), accuracy=not logits.requires_grad)
        return loss, sums, detached(state)

    def figures(self, sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        figures = super().figures(sums)
        nats = figures["loss"]
        perplexity = math.exp(nats) if nats < 700 else math.inf
        return figures | {"perplexity": perplexity, "bits_per_token": nats / math.log(2)}


OBJECTIVES: dict[str, Objective] = {
    "classification": Classification(),
    "regression": Regression(),
    "tagging": Tagging(),
    "forecasting": Forecasting(),
    "language_model": LanguageModelling(),
}


def find_objective(objective: str | Objective) -> Objective:
    """The objective of that name; an objective is returned as it is."""
    if isinstance(objective, Objective):
        return objective
    choose("objective", objective, OBJECTIVES)
    return OBJECTIVES[objective]


def is_better(value: float, than: float | None, better: str) -> bool:
    """Whether a figure, of which "higher" or "lower" is better, is a new best."""
    if math.isnan(value) or than is None:
        return not math.isnan(value)
    return value > than if better == "higher" else value < than


def evaluate(model: nn.Module, split: Split, objective: str | Objective, batch_size: int) -> dict[str, float]:
    """Figures of a model on a split, in evaluation mode; each mean is over all targets of the split.

    Where the split's batches continue each other, the state is carried from one to the next; else they come in the
    order that costs least, where the split knows one (`Split.unordered`).
    """
    objective = find_objective(objective)
    sums: Sums = {}
    carry = None
    with evaluation_batches(model, split, batch_size) as batches:
        for batch in batches:
            _, of_batch, carry = objective.loss(model, batch, carry)
            add_sums(sums, of_batch)
            carry = carry if carries_state(split) else None
    if not sums:
        raise UserError("The split has no batches", "at least one example", "Check the split or lower the batch size")
    return objective.figures(sums)


@contextmanager
def evaluation_batches(model: nn.Module, split: Split, size: int) -> Iterator[Iterator[Batch]]:
    """The batches of a split on the model's device, in evaluation mode and without gradients within the block."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with modes_kept(model), torch.no_grad():
        model.eval()
        yield (to_device(batch, device) for batch in getattr(split, "unordered", split.batches)(size))


def carries_state(split: Split) -> bool:
    """Whether each batch of a split continues the one before it."""
    return bool(getattr(split, "carries_state", False))


def add_sums(sums: Sums, more: Mapping[str, tuple[float, float]], weight: float = 1.0) -> None:
    """Add `weight` times the totals and counts of `more` to `sums`."""
    for name, (total, count) in more.items():
        before = sums.get(name, (0.0, 0.0))
        sums[name] = (before[0] + weight * total, before[1] + weight * count)


def to_device(batch: Examples, device: torch.device) -> Examples:
    """The batch with its tensors on `device`; lengths stay where torch's packing wants them, on the CPU."""
    return batch._replace(inputs=batch.inputs.to(device), targets=batch.targets.to(device))


def detached(state: Carry) -> Carry:
    """A state, or a nested tuple of states, cut off from the graph that made it."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, (tuple, list)):
        return tuple(detached(part) for part in state)
    return state


def _cross_entropy(logits: Tensor, targets: Tensor, accuracy: bool = True) -> tuple[Tensor, Sums]:
    scored = targets != IGNORED
    count = int(scored.sum())
    loss = cross_entropy(logits, targets, IGNORED)
    sums = {"loss": (loss.item() * count, float(count))}
    if accuracy:
        correct = ((logits.detach().argmax(-1) == targets) & scored).sum()
        sums["accuracy"] = (int(correct), count)
    return loss, sums
