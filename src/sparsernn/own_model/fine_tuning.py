"""Fine-tuning of a pruned model, where a user brings no loop: AdamW with masks that stay."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.own_model.batches import Loss, again_and_again, run
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
    for batch in itertools.islice(again_and_again(data), steps):
        optimizer.zero_grad()
        value = run(model, batch, loss)
        if isinstance(value, Tensor):
            if not bool(value.isfinite()):
                raise UserError(
                    f"the loss is {float(value.detach())}", "a finite one", "look for NaN in weights and batches"
                )
            (value + sparsifier.penalty()).backward()
        optimizer.step()
        schedule.step()
