"""Which classes a network takes for which."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import nn

from sparsernn.errors import UserError

IGNORED = -100


class Batch(Protocol):
    """Some examples, with their lengths where these differ."""

    @property
    def inputs(self) -> torch.Tensor: ...

    @property
    def targets(self) -> torch.Tensor: ...

    @property
    def lengths(self) -> torch.Tensor | None: ...


class Split(Protocol):
    """Examples that are read in batches."""

    def batches(self, size: int, /) -> Iterable[Batch]: ...


@torch.no_grad()
def confusion(model: nn.Module, split: Split, labels: Sequence[str], *, batch_size: int = 250) -> dict[str, object]:
    """{"labels": [...], "matrix": [[...]]}: examples (or steps, for a label per step) by true and predicted class.

    Arguments:
        model: gives scores with the classes last, for a sequence or for each of its steps.
        split: its `batches(size)` give inputs, targets and lengths or None.
        labels: names of the classes, in the order of their numbers.
        batch_size: examples scored at once.
    Raises: UserError if the model gives another number of scores than there are labels.
    """
    classes = len(labels)
    counts = torch.zeros(classes * classes, dtype=torch.long)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for batch in getattr(split, "unordered", split.batches)(batch_size):
            inputs = batch.inputs.to(device)
            scores = (model(inputs) if batch.lengths is None else model(inputs, batch.lengths)).cpu()
            if scores.shape[-1] != classes:
                raise UserError(
                    f"the model gives {scores.shape[-1]} scores for {classes} labels",
                    "one score for each label",
                    "build the model with the task's number of outputs",
                )
            counts += _counts(scores, batch.targets.cpu(), batch.lengths, classes)
    finally:
        for module, was_training in training.items():
            module.training = was_training
    return {"labels": [str(label) for label in labels], "matrix": counts.view(classes, classes).tolist()}


def _counts(scores: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor | None, classes: int) -> torch.Tensor:
    if targets.dim() > 1:
        targets = targets[:, : scores.shape[1]]
    scored = targets != IGNORED
    if lengths is not None and targets.dim() > 1:
        scored &= torch.arange(targets.shape[1]) < lengths.cpu()[:, None]
    pairs = targets[scored] * classes + scores.argmax(-1)[scored]
    return torch.bincount(pairs, minlength=classes * classes)
