"""ST-RNN: sparse training of recurrent networks with random regrowth."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.methods.rewiring import Rewiring
from sparsernn.methods.sparsifier import Sparsifier
from sparsernn.structure.groups import Family, Groups


@dataclass(frozen=True)
class STRNN(Rewiring):
    """Rewire at random: drop the weakest weights, grow as many anywhere.

    Every `every` steps (the paper: once an epoch) the fraction p of each tensor's weights with the smallest
    magnitude is dropped and as many are grown at random, those just dropped included: such a one keeps its
    value, others start at 0. p falls along a cosine from `rate` to `floor` over the whole training.

    Arguments:
        sparsity: fraction of zeros, in [0, 1).
        every: steps between rewirings (int), or a fraction of training (float).
        rate: fraction dropped at the beginning; floor: at the end.
        decay: "cosine", "linear" or "constant".
        stop: fraction of training after which the mask stays.
        distribution: "uniform" or "erdos_renyi"; per: "tensor" or "gate".
        regrow_dropped: whether what was just dropped may come back.
    Shapes: any weight; acts on each tensor (or gate) by itself.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Liu et al. 2021, section 3, equations 4 to 6.
    Deviations: exact counts where the released relatives draw Bernoulli; percentiles over present weights only.
    """

    _: KW_ONLY
    rate: float = 0.5
    floor: float = 0.005
    stop: float = 1.0
    known_as: ClassVar[tuple[str, ...]] = ("st-rnn", "strnn", "st")
    granularities: ClassVar[tuple[str, ...]] = ("weight", "16x1")

    def grow_score(self, run: Sparsifier, groups: Groups, family: Family) -> Tensor:
        return torch.rand(family.size, generator=run.generator).to(next(iter(run.weights.values())).device)

    def after_step(self, run: Sparsifier) -> None:
        if self.is_due(run, run.step_count):
            self.rewire(run, run.step_count)
