"""Fine-tuning of a pruned model, where a user brings no loop: AdamW with masks that stay."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sparsernn.own_model.batches import Loss
from sparsernn.sparsifying.sparsifier import Sparsifier

Start = Callable[..., Sparsifier]
MOST_DECAY = 0.3
"""The share of the matrices that weight decay may take off in one training, however many steps that has."""


def fine_tune(
    model: nn.Module, data: Any, loss: Loss, start: Start, steps: int, rate: float, weight_decay: float
) -> None:
    """Train on batches in the order of the data, at a rate that falls to 0 along a cosine.

    Arguments:
        start: (optimizer, steps) -> the sparsifier that keeps the masks.
        rate: the first learning rate. weight_decay: of matrices, as AdamW has it, if `MOST_DECAY` allows it.
    """
    most = -2 * math.log(1 - MOST_DECAY) / (rate * steps)  # the mean rate is half of the first one
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": min(weight_decay, most)},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    sparsifier = start(optimizer, steps)
    model.train()
    endless = itertools.chain.from_iterable(iter(lambda: data, None))
    for batch in itertools.islice(endless, steps):
        optimizer.zero_grad()
        (loss(model, batch) + sparsifier.penalty()).backward()
        optimizer.step()
        schedule.step()
