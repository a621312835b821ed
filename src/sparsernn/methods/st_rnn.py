"""ST-RNN: sparse training of recurrent networks with random regrowth."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.groups import Family, Groups


@dataclass(frozen=True)
class STRNN(Rewiring):
    """Rewire at random: drop the weakest weights, grow as many anywhere.

    Every `every` steps (the paper: once an epoch) the fraction p of each tensor's weights with the smallest
    magnitude is dropped and as many are grown at random, those just dropped included: such a one keeps its
    value, others start at 0. p falls along a cosine from `rate` to `floor` over the whole training.

    From SET it differs in three options: `STRNN(sparsity, rate=0.3, distribution="erdos_renyi", drop="sign",
    decay="constant", birth="zero")` is SET.

    Arguments: those of `Rewiring`; here
        sparsity: fraction of zeros, in [0, 1); or eps=.
        every: steps between rewirings (int), or a fraction of training (float).
        rate: fraction dropped at the beginning; floor: at the end.
        decay: "cosine", "linear" or "constant".
        distribution: "uniform", "erdos_renyi" or "erdos_renyi_kernel"; per: "tensor" or "gate".
        regrow_dropped: whether what was just dropped may come back.
    Shapes: any weight; acts on each tensor (or gate) by itself, unless redistribution says otherwise.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Liu et al. 2021, section 3, equations 4 to 6.
    Deviations: exact counts where the released relatives draw Bernoulli; percentiles over present weights only; the
        event comes after the first step of the next epoch, not before it; the first `rate` is not given in the paper.
    """

    _: KW_ONLY
    rate: float = 0.5
    floor: float = 0.005
    stop: float = 1.0
    grows_at_random: ClassVar[bool] = True
    known_as: ClassVar[tuple[str, ...]] = ("st-rnn", "strnn", "st")
    granularities: ClassVar[tuple[str, ...]] = ("weight", "16x1")

    def grow_score(self, run: Sparsifier, groups: Groups, family: Family) -> None:
        return None
