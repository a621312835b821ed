"""Averaged gradients, those of absent weights included: 4 bytes a weight."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsernn.methods.run import Run

Averages = dict[str, Tensor]


def follow_gradients(run: Run, averages: Averages, names: Sequence[str], momentum: float) -> None:
    """Take the latest gradients in: average = momentum average + (1 - momentum) gradient."""
    for name in names:
        gradient = run.gradient(name)
        if gradient is not None:
            average_of(run, averages, name).lerp_(gradient, 1 - momentum)


def average_of(run: Run, averages: Averages, name: str) -> Tensor:
    """The averaged gradient of a tensor, zeros before the first step."""
    parameter = run.model.get_parameter(name)
    average = averages.get(name)
    if average is None or average.device != parameter.device:
        averages[name] = torch.zeros_like(parameter.data) if average is None else average.to(parameter.device)
    return averages[name]
