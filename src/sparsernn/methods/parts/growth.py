"""Where weights grow: what an absent group would be worth."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsernn.methods.parts.averages import Averages, average_of
from sparsernn.methods.run import Run
from sparsernn.structure.groups import Family, Groups

Worth = Callable[[Run, Averages, Groups, Family], Tensor]


@dataclass(frozen=True)
class Growth:
    """A rule by which absent groups are chosen.

    Arguments:
        worth: of each group of a family, larger is better, a tensor of its own; None: any of them, at random. [size]
        averages: whether it looks at averaged gradients.
    """

    worth: Worth | None = None
    averages: bool = False


def by_gradient(run: Run, averages: Averages, groups: Groups, family: Family) -> Tensor:
    """Magnitude of the latest gradient. [size]"""
    gradients = {}
    for name in groups.names:
        gradient = run.gradient(name)
        gradients[name] = torch.zeros_like(run.model.get_parameter(name).data) if gradient is None else gradient
    return groups.family_norms(gradients, family)


def by_average(run: Run, averages: Averages, groups: Groups, family: Family) -> Tensor:
    """Magnitude of the averaged gradient. [size]"""
    return groups.family_norms({name: average_of(run, averages, name) for name in groups.names}, family)


AT_RANDOM, BY_GRADIENT, BY_AVERAGE = Growth(), Growth(by_gradient), Growth(by_average, averages=True)
