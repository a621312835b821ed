"""Which classes a network takes for which."""

from collections.abc import Sequence

import torch
from torch import nn

from sparsernn.errors import UserError
from sparsernn.training.batches import Split
from sparsernn.training.objectives import IGNORED, OBJECTIVES, evaluation_batches


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
    with evaluation_batches(model, split, batch_size) as batches:
        for batch in batches:
            objective = OBJECTIVES["tagging" if batch.targets.dim() > 1 else "classification"]
            scores = model(*objective.arguments(batch))
            if scores.shape[-1] != classes:
                raise UserError(
                    f"the model gives {scores.shape[-1]} scores for {classes} labels",
                    "one score for each label",
                    "build the model with the task's number of outputs",
                )
            targets = objective.targets(batch)
            targets = targets[:, : scores.shape[1]] if targets.dim() > 1 else targets
            scored = targets != IGNORED
            pairs = targets[scored] * classes + scores.argmax(-1)[scored]
            counts += torch.bincount(pairs.cpu(), minlength=classes * classes)
    return {"labels": [str(label) for label in labels], "matrix": counts.view(classes, classes).tolist()}
