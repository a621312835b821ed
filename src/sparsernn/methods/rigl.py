"""RigL: dynamic sparse training by gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.groups import Family, Groups


@dataclass(frozen=True)
class RigL(Rewiring):
    """Rewire by gradient: drop the weakest weights, grow where the loss would fall fastest.

    Every `every` steps a cosine-decaying fraction of each tensor's weights is dropped by magnitude and as many
    are grown where |gradient| is largest among all others, those just dropped included. Grown weights start at
    0 with empty optimizer memory; the event replaces that step's update.

    Arguments: those of `Rewiring`; here
        sparsity: fraction of zeros, in [0, 1); or eps=.
        every: steps between rewirings (int), or a fraction of training (float).
        rate: fraction dropped at the first event.
        stop: fraction of training after which the mask stays.
    Shapes: any weight; acts on each tensor (or gate) by itself, unless redistribution says otherwise.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Evci et al. 2020, Algorithm 1.
    Deviations: the gradient is that of the step's own batch or accumulated batches; ties are broken by position.
    """

    every: int | float = 100
    granularities: ClassVar[tuple[str, ...]] = ("weight", "16x1")
    replaces_update: ClassVar[bool] = True

    def grow_score(self, run: Sparsifier, groups: Groups, family: Family) -> Tensor:
        gradients = {}
        for name in groups.names:
            parameter = run.model.get_parameter(name)
            gradients[name] = torch.zeros_like(parameter.data) if parameter.grad is None else parameter.grad
        return groups.family_norms(gradients, family)
