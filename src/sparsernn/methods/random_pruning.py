"""Random pruning before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.methods.pruning import OneShotPruning
from sparsernn.methods.sparsifier import Sparsifier
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class RandomPruning(OneShotPruning):
    """Remove groups at random before the first step: the baseline that every one-shot method has to beat.

    Arguments:
        sparsity: fraction of groups absent, in [0, 1); exact.
        granularity: "weight", "gate", "neuron", a block such as "16x1".
        scope: "uniform" (each tensor or layer alike) or "global".
        per: at levels "weight" and blocks, whether a "tensor" or each "gate" of it has a budget.
    Shapes: any weight.
    Raises: UserError if sparsity is outside [0, 1).
    Source: the random baseline of Zhang & Stadie 2020, section 5.
    Deviations: none known.
    """

    known_as: ClassVar[tuple[str, ...]] = ("random",)
    granularities: ClassVar[tuple[str, ...]] = ("weight", "gate", "neuron", "16x1")

    def score(self, run: Sparsifier, groups: Groups) -> Tensor:
        return torch.rand(groups.count, generator=run.generator).to(next(iter(run.weights.values())).device)
